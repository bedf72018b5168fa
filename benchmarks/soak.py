"""Runs all nodes for an hour, and reports deaths and memory that grows.

Run: python -m benchmarks.soak --markdown results/ros.md --plot out/soak.png
     python -m benchmarks.soak --busy 4 --markdown results/reliability.md

The simulated camera plays without end to odometry, map tracking, fusion and anchors; every quarter of the hour the map
builder also builds a map, the first time during the warm-up. The camera knows the truth. Memory is that of a node's
process and its children, shared memory counted once (PSS). Its growth is from the median of the first tenth after the
warm-up to that of the last tenth.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from benchmarks.busy_programs import SPINNING, beside
from benchmarks.listener import count_wrong, read_lines
from benchmarks.places import DEMO_MAP
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_msgs.srv import BuildMap
from visloc_ros.apps.processes import NodeProcesses, NodeSpec
from visloc_ros.apps.replay import LOOPBACK_ONLY, free_domain_id
from visloc_ros.core.middleware import fast_dds_profile
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, style, to_png
from visloc_ros.simulation import SimulationConfig, simulate, write_folder

BUILDS, SAMPLE_S, WARM_UP_SHARE, END_SHARE = 4, 5.0, 1 / 6, 0.1
MAPPED = SimulationConfig(width=480, height=360, focal_px=360.0, duration_s=4.0, rate_hz=2.0)
NODES = ("localization_node", "anchor_node", "map_builder_node")
"""The nodes of which the memory counts, without the simulated camera."""


def main() -> None:
    """Run, and report the result."""
    parser = new_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long all nodes run")
    parser.add_argument("--busy", type=int, default=0, help="number of other programs that keep a processor busy")
    parser.add_argument("--plot", type=Path, help="picture of the memory")
    parser.add_argument("--heard", type=Path, help="keep what the nodes published, and its errors, as lines of JSON")
    add_outputs(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, beside(SPINNING, arguments.busy):
        figures = soak(Path(folder), arguments.seconds, arguments.heard)
    show(figures, arguments)
    grown = [name for name, one in figures["memory"].items() if one["growth"] >= 0.02]
    if grown or figures["deaths"]:
        sys.exit(f"died: {figures['deaths'] or 'none'}; memory grew: {', '.join(grown) or 'nowhere'}")


def soak(folder: Path, seconds: float, kept: Path | None) -> Figures:
    """Run all nodes for so long; a death ends the run, and is reported."""
    environment = {**fast_dds_profile(), **LOOPBACK_ONLY, "ROS_DOMAIN_ID": str(free_domain_id())}
    os.environ.update(environment | {"OMP_NUM_THREADS": "1"})
    write_folder(simulate(MAPPED, "map"), folder / "images")
    heard, samples = kept or folder / "heard.jsonl", defaultdict[str, list[tuple[float, float]]](list)
    begin_s, builds, deaths = time.monotonic(), 0, ""
    with (
        NodeProcesses(specs(folder), folder, environment) as nodes,
        listening(heard, has_parts=kept is not None),
        Builder(folder) as builder,
    ):
        try:
            while (elapsed_s := time.monotonic() - begin_s) < seconds:
                nodes.watch()
                for name, process in running().items():
                    samples[name].append((elapsed_s, memory_mb(process)))
                if builder.is_ready and elapsed_s >= builds * seconds / BUILDS:
                    builds += 1
                    builder.build()
                builder.spin(SAMPLE_S)
        except Exception as error:
            deaths = str(error)
        figures = figures_of(read_lines(heard), seconds)
        return figures | {
            "seconds": time.monotonic() - begin_s,
            "deaths": deaths,
            "builds": builder.outcomes,
            "memory": {name: growth_of(samples[name], seconds) for name in NODES},
            "samples": samples,
        }


def specs(folder: Path) -> list[NodeSpec]:
    """All nodes, as ``visloc up`` starts them."""
    camera = {"camera.transport": "compressed"}
    following = {"map_tracking.map_path": str(DEMO_MAP)}
    return [
        NodeSpec("anchor_node", camera | {"map_path": str(DEMO_MAP)}, remappings={"__ns": "/visloc"}),
        NodeSpec("localization_node", camera | following, remappings={"__ns": "/visloc"}),
        NodeSpec("simulated_camera_node", {}, remappings={"__ns": "/visloc"}),
        NodeSpec("map_builder_node", {"maps_folder": str(folder)}, remappings={"__ns": "/visloc"}, niceness=5),
    ]


@contextmanager
def listening(heard: Path, *, has_parts: bool) -> Iterator[None]:
    """Record what the nodes publish meanwhile, and what poses are made of."""
    command = [sys.executable, "-m", "benchmarks.listener", *(["--parts"] if has_parts else [])]
    with heard.open("w") as file:
        process = subprocess.Popen(command, stdout=file)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20.0)


class Builder:
    """Requests maps from the map builder, and keeps the outcomes."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._asked = folder, list[Any]()

    def __enter__(self) -> "Builder":
        self._context = Context()
        self._context.init(domain_id=int(os.environ["ROS_DOMAIN_ID"]))
        self._executor = SingleThreadedExecutor(context=self._context)
        self._node = Node("soak", context=self._context)
        self._executor.add_node(self._node)
        self._client = self._node.create_client(BuildMap, "/visloc/map_builder_node/build_map")
        return self

    def __exit__(self, *_: object) -> None:
        self._context.try_shutdown()

    def build(self) -> None:
        """Ask for a map."""
        request = BuildMap.Request(source=str(self._folder / "images"), name="built", overwrite=True)
        self._asked.append(self._client.call_async(request))

    @property
    def is_ready(self) -> bool:
        """Whether the map builder listens."""
        return bool(self._client.service_is_ready())

    @property
    def outcomes(self) -> list[str]:
        """The outcomes of the builds."""
        return [one.result().message.partition("\n")[0] if one.done() else "not done" for one in self._asked]

    def spin(self, seconds: float) -> None:
        """Take answers for so long."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)


def running() -> Mapping[str, psutil.Process]:
    """The processes of the nodes."""
    children = [(child, " ".join(child.cmdline())) for child in psutil.Process().children()]
    return {name: child for name in NODES for child, line in children if f"visloc_ros.nodes.{name} " in line}


def memory_mb(process: psutil.Process) -> float:
    """Memory of a process and its children now."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_full_info().pss
        except psutil.NoSuchProcess:  # a build's worker that has just ended
            continue
    return total / 1e6


def growth_of(samples: list[tuple[float, float]], seconds: float) -> Figures:
    """Memory after the warm-up and in the end, and its growth between them."""
    times, values = (np.array(column) for column in zip(*samples, strict=True))
    warm, part = WARM_UP_SHARE * seconds, END_SHARE * seconds
    after = float(np.median(values[(times >= warm) & (times < warm + part)]))
    end = float(np.median(values[times >= seconds - part]))
    return {"after_warm_up_mb": after, "end_mb": end, "peak_mb": float(values.max()), "growth": end / after - 1.0}


def figures_of(lines: list[Figures], seconds: float) -> Figures:
    """Shares of the states, the longest time without any, and errors."""
    states = [one["state"] for one in lines if "state" in one]
    heard_s = [one["heard_s"] for one in lines if "state" in one]
    poses = [one for one in lines if "error_m" in one]
    errors = [one["error_m"] for one in poses]
    localized = {one["stamp_ns"] for one in lines if one.get("state") == "LOCALIZED"}
    sure = [one for one in poses if one["stamp_ns"] in localized]
    return {
        "frames_hz": len(states) / seconds,
        "states": {name: states.count(name) / max(1, len(states)) for name in sorted(set(states))},
        "longest_silence_s": float(np.diff(heard_s).max()) if len(heard_s) > 1 else 0.0,
        "poses": len(poses),
        "error_cm": {f"p{rank}": 100 * float(np.percentile(errors, rank)) for rank in (50, 95, 100)} if poses else {},
        "wrong": count_wrong(poses),
        "localized": len(sure),
        "wrong_localized": count_wrong(sure),
    }


def show(figures: Figures, arguments: argparse.Namespace) -> None:
    """Write the table, and draw the memory."""
    builds = figures["builds"]
    rows = [
        ("ran", f"{figures['seconds']:.0f} s"),
        ("deaths", figures["deaths"] or "0"),
        ("maps built meanwhile", f"{sum(one.startswith('map ') for one in builds)} of {len(builds)}"),
        ("frames a second", f"{figures['frames_hz']:.1f}"),
        ("states", ", ".join(f"{share:.2%} {name}" for name, share in figures["states"].items() if share > 0.0)),
        ("longest time without a status", f"{figures['longest_silence_s']:.1f} s"),
        ("error, p50 / p95 / max", " / ".join(f"{value:.1f}" for value in figures["error_cm"].values()) + " cm"),
        ("poses off by more than 10 cm and 4 of their sigmas", f"{figures['wrong']} of {figures['poses']}"),
        ("of those that are LOCALIZED", f"{figures['wrong_localized']} of {figures['localized']}"),
        *(
            (
                f"memory of {name}, after the warm-up and in the end",
                f"{one['after_warm_up_mb']:.0f} MB, {one['end_mb']:.0f} MB ({one['growth']:+.1%})",
            )
            for name, one in figures["memory"].items()
        ),
    ]
    body = table(("what", "figure"), rows)
    print(body, flush=True)
    if arguments.plot:
        arguments.plot.write_bytes(picture(figures["samples"]))
    length = "An hour" if arguments.seconds == 3600.0 else f"{arguments.seconds / 60.0:.0f} minutes"
    load = f", beside {arguments.busy} busy programs" if arguments.busy else ""
    write_outputs(arguments, f"{length} of all nodes{load}", {**provenance(), **figures}, body)


def picture(samples: Mapping[str, list[tuple[float, float]]]) -> bytes:
    """Memory of each node over time."""
    with style():
        figure = new_figure(6.4, 2.6)
        axes = figure.subplots()
        for (name, values), color in zip(samples.items(), (LIGHT.anchor, LIGHT.fused, LIGHT.warn), strict=True):
            times, memory = np.array(values).T
            axes.plot(times / 60.0, memory, label=name, color=color)
        axes.set(xlabel="minutes", ylabel="MB, shared memory counted once", ylim=(0, None))
        axes.legend(ncols=3)
        return to_png(figure)


if __name__ == "__main__":
    main()
