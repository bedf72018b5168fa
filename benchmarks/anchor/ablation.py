"""Ablation of the anchor engine: the default engine against itself with one option changed.

Run: python -m benchmarks.anchor.ablation --data ../shared/data --markdown results/anchor.md

The variants take turns image by image, with the same features and the same predictions (the truth off by 10 cm and
3 deg), so that a noisy machine hits all alike. Times are processor times of the search, without features, on one
thread; each variant's first image is a warm-up and left out.
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.places import FeatureCache, Place, real_places, true_pose
from benchmarks.program import new_parser
from benchmarks.results_file import table, write_section
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import AnchorPose, Rejection
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.metrics import position_error, rotation_error_deg
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.simulation.pose_priors import perturbed

SECTION = "Ablation"
PRIOR_ERROR = (0.1, 3.0)  # metres, degrees
Variants = Mapping[str, Mapping[str, Any]]

WITHOUT_PRIOR: Variants = {
    "default": {},
    "no guided search": {"guided": {"enabled": False}},
    "LightGlue first": {"nearest_first": False},
    "no early stop": {"stop_inliers": 100_000},
    "ten references, no early stop": {"top_k": 10, "stop_inliers": 100_000},
    "places not solved apart": {"min_shared_points": 0},
    "COLMAP's RANSAC": {"pose": {"solver": "colmap"}},
    "best correspondences sampled first": {"pose": {"progressive_sampling": True}},
    "full depth of LightGlue": {"matcher": {"depth_confidence": 1.0, "width_confidence": 1.0}},
    "float32 LightGlue": {"matcher": {"precision": "float32"}},
    "nearest neighbours for LightGlue": {"matcher": {"name": "nearest", "filter_threshold": 0.7}},
}
WITH_PRIOR: Variants = {
    "default": {},
    "no guided search": {"guided": {"enabled": False}},
    "no prediction used": {"guided": {"enabled": False}, "top_k_expected": 0},
    "half the window": {"guided": {"window": 0.0375}},
    "five references": {"guided": {"references": 5}},
    "twenty references": {"guided": {"references": 20}},
    "COLMAP's RANSAC": {"pose": {"solver": "colmap"}},
}
HEADER = ("option changed", "p50 ms", "p95 ms", "found", "median cm", "median °", "p95 cm", "within 5 cm, 5°")


@dataclass
class Variant:
    """An engine and what it found: processor times in ms, errors in metres and degrees."""

    engine: AnchorEngine
    milliseconds: list[float] = field(default_factory=list)
    errors: list[tuple[float, float]] = field(default_factory=list)

    def add(self, answer: AnchorPose | Rejection, truth: SE3, milliseconds: float) -> None:
        """Note an answer; infinite errors where there is no pose."""
        self.milliseconds.append(milliseconds)
        if isinstance(answer, Rejection):
            self.errors.append((np.inf, np.inf))
        else:
            pose = answer.map_from_camera
            self.errors.append((position_error(pose, truth), rotation_error_deg(pose, truth)))

    def row(self, name: str) -> list[str]:
        """The variant's line of the table."""
        times, errors = self.milliseconds[1:], np.array(self.errors[1:])
        position, rotation = errors.T
        share = np.mean((position <= 0.05) & (rotation <= 5.0))
        return [
            name,
            f"{np.median(times):.0f}",
            f"{np.percentile(times, 95):.0f}",
            f"{np.isfinite(position).sum()} of {len(position)}",
            f"{100 * np.median(position):.2f}",
            f"{np.median(rotation):.3f}",
            f"{100 * np.percentile(position, 95, method='lower'):.2f}",
            f"{100 * share:.0f} %",
        ]


def main() -> None:
    """Measure all variants in all places, and write the tables."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    parts = [part for place in real_places(arguments.data) for part in measure_place(place, arguments)]
    body = "\n\n".join(parts)
    print(body)
    write_section(arguments.markdown, SECTION, provenance(), body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--work", type=Path, default=Path("out/anchor"), help="folder for maps and features")
    parser.add_argument("--every", type=int, default=1, help="search for every n-th image only")
    parser.add_argument("--markdown", type=Path, help="results file to write the tables into")
    return parser.parse_args()


def measure_place(place: Place, arguments: argparse.Namespace) -> list[str]:
    """A table without and one with predictions."""
    map_ = place.open_map(arguments.work / "maps")
    groups = [
        {name: Variant(AnchorEngine(map_, AnchorConfig.from_mapping(values))) for name, values in variants.items()}
        for variants in (WITHOUT_PRIOR, WITH_PRIOR)
    ]
    cache = FeatureCache(arguments.work / "features", groups[0]["default"].engine)
    truth, rng = place.truth(), np.random.default_rng(0)
    for frame in place.frames()[:: arguments.every]:
        pose, features = true_pose(truth, frame.stamp_ns), cache(f"{place.name}/{frame.name}", frame)
        for variants, prior in zip(groups, (None, perturbed(pose, rng, *PRIOR_ERROR)), strict=True):
            for variant in variants.values():
                start = time.thread_time()
                answer = variant.engine.localize(frame, prior, features)
                variant.add(answer, pose, (time.thread_time() - start) * 1e3)
    titles = (f"### {place.name}, without a prediction", f"### {place.name}, with one")
    return [
        f"{title}\n\n{table(HEADER, [variant.row(name) for name, variant in variants.items()])}"
        for title, variants in zip(titles, groups, strict=True)
    ]


if __name__ == "__main__":
    main()
