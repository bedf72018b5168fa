"""A tracked camera is moved elsewhere in its map while frames are black: frames until it is localized again.

Run: OMP_NUM_THREADS=1 python -m plugins.visloc_search.benchmarks.landmarks.kidnapped --data ../shared/data \\
         --markdown plugins/visloc_search/results/landmarks.md

In each trial the camera plays 30 frames, five are black, and then it is elsewhere: at least half a metre off in the
kitchen, two in the flight. Both searches play the same trials with the same features. Every frame is searched, and each
search counts as over before the next frame, so the result does not depend on the machine's speed. Found again: an
anchor is right; localized again: so is the fused pose, which does not trust a single anchor.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.places import FeatureCache, all_places
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from benchmarks.robustness.grounds import GROUNDS, RIGHT, Ground, far_from
from benchmarks.robustness.incidents import CachedEngine, recorded
from benchmarks.robustness.scenarios import (
    Clip,
    ImageSequence,
    Scenario,
    SplicedSequence,
)
from plugins.visloc_search.benchmarks.landmarks.measured import number
from plugins.visloc_search.benchmarks.landmarks.prepared import prepared_map
from visloc_ros.apps.offline_run import RunConfig, run_offline, search_inline
from visloc_ros.core.map import Map
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.types import State
from visloc_ros.evaluation import RunRecord
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.series import PoseSeries, run_series
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import RETRIEVAL
from visloc_search.landmarks.config import LANDMARKS

SECTION = "Kidnapped"
SEARCHES = (RETRIEVAL, LANDMARKS)
TRACKED, BLACK, AFTERWARDS = 30, 5, 30  # frames
HEADER = (
    "search", "trials", "anchor found again", "after frames, at most", "localized again", "after frames, at most",
    "wrong anchors", "wrong poses", "search, median ms",
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """The outcome for a camera after the black frames; the next frame is the first.

    The frame of the first right ``anchor`` and that of the first right ``fused`` pose that is LOCALIZED, None where
    there is none; how many of both were wrong; and what each search took.
    """

    anchor: int | None
    fused: int | None
    wrong_anchors: int
    wrong_poses: int
    search_ms: tuple[float, ...]


def main() -> None:
    """Play all trials both ways, and write the table."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    trials: dict[str, list[Trial]] = {search: [] for search in SEARCHES}
    for ground in GROUNDS:
        for search, played in play(ground, arguments):
            trials[search].append(played)
    searches = {search: summarize(played) for search, played in trials.items()}
    body = table(HEADER, [row(search, one) for search, one in searches.items()])
    write_outputs(arguments, SECTION, {**provenance(), "searches": searches}, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/landmarks", "maps, rooms and features")
    parser.add_argument("--trials", type=int, default=10, help="trials in each of two places")
    add_outputs(parser)
    return parser.parse_args()


def play(ground: Ground, arguments: argparse.Namespace) -> Iterator[tuple[str, Trial]]:
    """All trials in one place, each with every way of searching."""
    places = all_places(arguments.data, arguments.work)
    map_ = prepared_map(next(one for one in places if one.name == ground.place), places, arguments.work)
    sequence = ImageSequence(recorded(ground.place, arguments))
    models = make_extractor(), make_matcher()
    engines = {search: AnchorEngine(map_, AnchorConfig(search=search), *models) for search in SEARCHES}
    cache = FeatureCache(arguments.work / "features", engines[SEARCHES[0]])
    for scenario in scenarios(ground, sequence, arguments.trials):
        for search, engine in engines.items():
            frames = SplicedSequence(scenario, {ground.place: sequence})
            yield search, judge(run(map_, engine, cache, frames), ground.rate_hz)


def scenarios(ground: Ground, sequence: ImageSequence, count: int) -> Iterator[Scenario]:
    """So many trials, drawn by a seed."""
    rng = np.random.default_rng(0)
    last = ground.frames[-1]
    for number_of_trial in range(count):
        start = int(rng.integers(ground.frames[0], last - TRACKED - BLACK))
        end = start + TRACKED
        far = far_from(end, ground, sequence)
        there = int(rng.choice(far[far <= last - AFTERWARDS]))
        clips = (
            Clip(ground.place, range(start, end)),
            Clip(ground.place, range(end, end + BLACK), dark=True),
            Clip(ground.place, range(there, there + AFTERWARDS)),
        )
        yield Scenario(f"{ground.place}, trial {number_of_trial}", ground.place, clips, ground.rate_hz)


def run(map_: Map, engine: AnchorEngine, cache: FeatureCache, frames: SplicedSequence) -> RunRecord:
    """Take a trial's frames through the localizer, each search being over at once."""
    config = replace(RunConfig(), causal=True, anchor_period_s=0.0, anchor_latency_s=0.0, anchor=engine.config)
    anchors = search_inline(CachedEngine(engine, cache), config)
    return run_offline(map_, frames, frames.ground_truth, config, SilentProgress(), anchors, engine=engine)


def judge(record: RunRecord, rate_hz: float) -> Trial:
    """The outcome for one camera."""
    series = run_series(record)
    trusted = np.array([frame.state is State.LOCALIZED for frame in record.frames], bool)
    accepted = np.array([anchor.accepted for anchor in record.anchors], bool)
    fused, wrong_fused = after_the_black(series.frames, trusted, rate_hz)
    anchor, wrong_anchors = after_the_black(series.anchors, accepted, rate_hz)
    times = tuple(one.latency_ms for one in record.anchors if one.latency_ms is not None)
    return Trial(anchor, fused, wrong_anchors, wrong_fused, times)


def after_the_black(poses: PoseSeries, trusted: np.ndarray, rate_hz: float) -> tuple[int | None, int]:
    """The first frame after the black ones, from 1 on, with a right pose, and how many wrong ones are trusted (N,)."""
    frames = np.rint(poses.seconds * rate_hz).astype(int) - TRACKED - BLACK + 1
    trusted = trusted & (frames > 0)
    right = (poses.position_error <= RIGHT[0]) & (poses.rotation_error_deg <= RIGHT[1])
    found = frames[trusted & right]
    return (int(found[0]) if len(found) else None), int((trusted & ~right).sum())


def summarize(trials: list[Trial]) -> Figures:
    """Figures of all trials of a way of searching; a camera that is not found again waits for ever."""
    times = [ms for one in trials for ms in one.search_ms]
    return {
        "trials": len(trials),
        "anchor": waits([one.anchor for one in trials]),
        "fused": waits([one.fused for one in trials]),
        "wrong_anchors": sum(one.wrong_anchors for one in trials),
        "wrong_poses": sum(one.wrong_poses for one in trials),
        "search_ms": float(np.median(times)),
    }


def waits(frames: list[int | None]) -> Figures:
    """How many waited not for ever, and the longest wait in frames, None for ever."""
    known = [one for one in frames if one is not None]
    return {"found": len(known), "longest": max(known) if len(known) == len(frames) else None}


def row(search: str, figures: Figures) -> list[str]:
    """One way's line."""
    cells = [search, str(figures["trials"])]
    for kind in ("anchor", "fused"):
        one = figures[kind]
        cells += [str(one["found"]), number(one["longest"], "{:g}")]
    return [*cells, str(figures["wrong_anchors"]), str(figures["wrong_poses"]), f"{figures['search_ms']:.0f}"]


if __name__ == "__main__":
    main()
