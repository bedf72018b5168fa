"""What a frame of ``dpvo`` costs, stage by stage, with the official weights or random numbers, which are as much work.

To all flow of random numbers a constant is added, so that the start sees motion. No keyframe is dropped and no frame
counts as lost, so every frame has all the measurements that a preset allows: the most expensive case. Paths and errors
have no meaning here and are left out. The end is the adjustment until convergence.
Run: python -m benchmarks.odometry.dpvo --source ../shared/data/7scenes_redkitchen --json out/dpvo.json
"""

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from benchmarks.odometry.tables import DPVO_SECTION, WEIGHTS_SECTION, dpvo_tables
from benchmarks.program import add_device, new_parser
from benchmarks.results_file import Figures, write_json, write_section
from visloc_ros.core.types import Frame, OdometryPose, Rejection
from visloc_ros.evaluation import evaluate_odometry
from visloc_ros.evaluation.decoding import decode
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.odometry_run import run_odometry
from visloc_ros.evaluation.odometry_summary import lifecycle, summarize_odometry
from visloc_ros.features.backends.weights import pick_device
from visloc_ros.odometry.backend import OdometryAround
from visloc_ros.odometry.dpvo.config import DpvoConfig
from visloc_ros.odometry.dpvo.network import PatchNetwork
from visloc_ros.odometry.dpvo.odometry import DpvoOdometry
from visloc_ros.sources import open_source

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
        write_section(arguments.markdown, DPVO_SECTION, provenance(), dpvo_tables(reports))
    else:
        write_section(arguments.markdown, WEIGHTS_SECTION, provenance(), dpvo_tables(reports, note=""))
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


if __name__ == "__main__":
    main()
