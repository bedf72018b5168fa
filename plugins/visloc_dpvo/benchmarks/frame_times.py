"""What a frame of ``dpvo`` costs, stage by stage, with the official weights or random numbers, which are as much work.

To all flow of random numbers a constant is added, so that the start sees motion. No keyframe is dropped and no frame
counts as lost, so every frame has all the measurements that a preset allows: the most expensive case. Paths and errors
have no meaning here and are left out. The end is the adjustment until convergence.
Run: python -m plugins.visloc_dpvo.benchmarks.frame_times --source ../shared/data/7scenes_redkitchen \\
         --json out/dpvo.json --markdown plugins/visloc_dpvo/results/frame_times.md
"""

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from benchmarks.odometry.tables import UNKNOWN, number
from benchmarks.program import add_device, new_parser
from benchmarks.results_file import Figures, table, write_json, write_section
from visloc_dpvo.config import DpvoConfig
from visloc_dpvo.network import PatchNetwork
from visloc_dpvo.odometry import DpvoOdometry
from visloc_ros.core.types import Frame, OdometryPose, Rejection
from visloc_ros.evaluation import evaluate_odometry
from visloc_ros.evaluation.decoding import decode
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.odometry_run import run_odometry
from visloc_ros.evaluation.odometry_summary import lifecycle, summarize_odometry
from visloc_ros.features.backends.weights import pick_device
from visloc_ros.odometry.backend import OdometryAround
from visloc_ros.sources import open_source

REFERENCE_MS = {"init": 123.0, "first 2 frames": 650.0, "inference": 31.8, "finalize": 198.0}
"""DPVO with its weights on an A100, as its authors state it."""

SECTION = "dpvo without its weights: time only"
WEIGHTS_SECTION = "dpvo with its official weights: time only"
NOTE = "The official weights were not at hand: the network's numbers are random, and so are its paths, left out here."
FLOW_PX = 4.0
PRESETS = {"cpu": ("cpu",), "cuda": ("default", "fast")}


class AwaitedOdometry(OdometryAround):
    """``dpvo`` that waits for the GPU before it returns a frame."""

    def __init__(self, config: DpvoConfig, *, has_weights: bool) -> None:
        device = pick_device(config.device)
        super().__init__(DpvoOdometry(config, None if has_weights else random_network(device)))
        self._has_queue = device.type == "cuda"

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Track a frame."""
        result = super().track(frame)
        if self._has_queue:
            torch.cuda.synchronize()
        return result


def random_network(device: torch.device) -> PatchNetwork:
    """A network of random numbers that sees everything move by ``FLOW_PX`` quarter pixels."""
    torch.manual_seed(0)
    network = PatchNetwork().eval().requires_grad_(False).to(device)
    network.get_parameter("update.d.1.bias").add_(FLOW_PX)
    return network


def main() -> None:
    """Measure the presets that make sense on this machine, or those that are named."""
    parser = new_parser(__doc__)
    parser.add_argument("--source", type=Path, required=True, help="video, folder or bag")
    parser.add_argument("--frames", type=int, default=100, help="frames tracked")
    parser.add_argument("--presets", nargs="*", help="presets; otherwise cpu, on a GPU all")
    parser.add_argument("--weights", type=Path, help="file of the official weights; otherwise random numbers")
    add_device(parser)
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    parser.add_argument("--markdown", type=Path, help="results file to write the tables into")
    arguments = parser.parse_args()
    device = pick_device(arguments.device or "auto").type
    presets = arguments.presets or PRESETS[device]
    configs = {
        preset: DpvoConfig(preset=preset, device=device, weights=str(arguments.weights or "")) for preset in presets
    }
    reports = {preset: measure(arguments, config) for preset, config in configs.items()}
    write_json(arguments.json, reports)
    if arguments.weights is None:
        write_section(arguments.markdown, SECTION, provenance(), tables(reports))
    else:
        write_section(arguments.markdown, WEIGHTS_SECTION, provenance(), tables(reports, note=""))
    for preset, report in reports.items():
        print(f"{preset}: {report['total_ms']['p50']:.1f} ms a frame, finalize {report['finalize_ms']:.0f} ms")


def measure(arguments: argparse.Namespace, config: DpvoConfig) -> Figures:
    """Figures of one preset."""
    every_frame = replace(config, keyframe_thresh=-1.0, min_support=0.0)
    has_weights, device = arguments.weights is not None, config.device
    frames = islice(decode(open_source(arguments.source)), arguments.frames)
    run = run_odometry(lambda: AwaitedOdometry(every_frame, has_weights=has_weights), frames)
    figures = summarize_odometry(run, evaluate_odometry(run.results, None)) | lifecycle(run)
    figures["gpu_mb"] = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else None
    return figures


def tables(reports: dict[str, Figures], note: str = NOTE) -> str:
    """Time alone: once, and a frame."""
    parts = [f"### {preset}\n\n{lifecycle_table(report)}" for preset, report in reports.items()]
    return "\n\n".join([note, *parts] if note else parts)


def lifecycle_table(report: Figures) -> str:
    """What happens once and for every frame, beside what the reference states of its odometry on an A100."""
    once = {"init": report["init_ms"], "first 2 frames": sum(report["warm_up_ms"]), "finalize": report["finalize_ms"]}
    each = {name: report[f"{name}_ms"] for name in ("inference", "total")}
    rows = [[f"{name}, once", number(value, digits=1), "", reference(name)] for name, value in once.items()]
    rows += [
        [f"{name}, a frame", *(number(spread[share], digits=1) for share in ("p50", "p95")), reference(name)]
        for name, spread in each.items()
    ]
    memory = f"peak memory {report['peak_rss_mb']:.0f} MB"
    memory += f", {report['gpu_mb']:.0f} MB of the GPU" if report.get("gpu_mb") else ""
    tracked = f"{report['tracked_frames']} of {report['frames']} tracked"
    return f"{table(['part', 'median ms', '95 % within ms', 'DPVO on an A100, ms'], rows)}\n\n{tracked}; {memory}"


def reference(part: str) -> str:
    """What the reference states, or a dash."""
    return f"{REFERENCE_MS[part]:g}" if part in REFERENCE_MS else UNKNOWN


if __name__ == "__main__":
    main()
