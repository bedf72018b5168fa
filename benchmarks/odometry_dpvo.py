"""What a frame of ``dpvo`` costs, stage by stage, without its weights: the network's numbers are random, not its work.

All flow gets a constant part, so that the start sees motion. No keyframe is dropped and no frame counts as lost, so
that every frame has all the measurements that a preset allows: the dearest case. Paths and errors mean nothing here and
are not told. The end is the adjustment until all rests.
Run: .venv/bin/python benchmarks/odometry_dpvo.py --source ../shared/data/7scenes_redkitchen --json out/dpvo.json
"""

import argparse
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.evaluation import evaluate_odometry
from visloc_ros.evaluation.decoding import decode
from visloc_ros.evaluation.odometry_run import run_odometry
from visloc_ros.evaluation.odometry_summary import lifecycle, summarize_odometry
from visloc_ros.odometry.dpvo.config import DpvoConfig
from visloc_ros.odometry.dpvo.network import PatchNetwork
from visloc_ros.odometry.dpvo.odometry import DpvoOdometry
from visloc_ros.sources import open_source

FLOW_PX = 4.0
DEAREST = {"keyframe_thresh": -1.0, "min_support": 0.0}
PRESETS = {"cpu": ("cpu",), "cuda": ("default", "fast", "cpu")}


class AwaitedOdometry:
    """``dpvo`` whose frames are done when they are given out: a GPU is waited for."""

    def __init__(self, config: DpvoConfig) -> None:
        self._odometry = DpvoOdometry(config, random_network())

    def track(self, frame: Frame):
        """Track a frame."""
        result = self._odometry.track(frame)
        if _device("auto").type == "cuda":
            torch.cuda.synchronize()
        return result

    def settle(self) -> dict:
        """Nothing: every frame is finished with its pose."""
        return {}

    def take_loops(self) -> tuple:
        """Loops closed since the last call."""
        return self._odometry.take_loops()

    def finish(self) -> Trajectory | None:
        """Adjust until all rests."""
        return self._odometry.finish()

    def reset(self) -> None:
        """Forget everything."""
        self._odometry.reset()

    def close(self) -> None:
        """Let go of everything."""
        self._odometry.close()


def random_network() -> PatchNetwork:
    """A network of random numbers that sees everything move by ``FLOW_PX`` quarter pixels."""
    torch.manual_seed(0)
    network = PatchNetwork().eval().requires_grad_(False).to(_device("auto"))
    network.update.d[-1].bias.add_(FLOW_PX)
    return network


def main() -> None:
    """Measure the presets that make sense on this machine, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="video, folder or bag")
    parser.add_argument("--frames", type=int, default=100, help="frames tracked")
    parser.add_argument("--presets", nargs="*", help="presets; otherwise cpu, on a GPU all")
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    arguments = parser.parse_args()
    presets = arguments.presets or PRESETS[_device("auto").type]
    reports = {preset: measure(arguments.source, arguments.frames, preset) for preset in presets}
    arguments.json.write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
    for preset, report in reports.items():
        print(f"{preset}: {report['total_ms']['p50']:.1f} ms a frame, finalize {report['finalize_ms']:.0f} ms")


def measure(source: Path, count: int, preset: str) -> dict:
    """Figures of one preset."""
    config = replace(DpvoConfig(), preset=preset, **DEAREST)
    frames = islice(decode(open_source(source)), count)
    run = run_odometry(lambda: AwaitedOdometry(config), frames)
    figures = summarize_odometry(run, evaluate_odometry(run.results, None)) | lifecycle(run)
    figures["gpu_mb"] = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None
    return figures


def _device(name: str) -> torch.device:
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    main()
