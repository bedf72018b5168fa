"""A camera moved elsewhere ten times in each of two places, live: how long the nodes report the old place.

Run: python -m benchmarks.robustness.kidnapped_live --data ../shared/data --markdown results/robustness.md

One bag a place and kind: every four seconds, at once or after five black frames, the camera is elsewhere, at least half
a metre off in the kitchen, two in the flight. The nodes play it at camera rate and search at their own pace. Noticed:
after the last wrong pose that is nearer to the old place than to the new one; found: with the first right pose. Poses
are LOCALIZED ones; wrong is more than 25 cm or 5 degrees off.
"""

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from benchmarks.robustness.grounds import GROUNDS, RIGHT, Ground, far_from
from benchmarks.robustness.incidents import map_folder, prepare, recorded
from benchmarks.robustness.nodes import replay_scenario
from benchmarks.robustness.scenarios import Clip, ImageSequence, Scenario, SplicedSequence, to_and_fro
from visloc_ros.core.types import State
from visloc_ros.evaluation import RunRecord
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.series import run_series

SECTION = "Kidnapped while the nodes run"
HEADER = (
    "place", "black frames", "carried off", "noticed within 2 s", "longest", "found within 2 s",
    "after: median", "longest", "wrong LOCALIZED poses",
)  # fmt: skip
SECONDS = 4.0  # between two kidnappings
BLACK = (0, 5)  # frames
LIMIT_S = 2.0


def main() -> None:
    """Play the bags, and write the table."""
    arguments = parse_arguments()
    prepare({ground.place for ground in GROUNDS}, arguments)
    rows = [play(ground, black, arguments) for ground in GROUNDS for black in BLACK]
    body = table(HEADER, [row(figures) for figures in rows])
    write_outputs(arguments, SECTION, {**provenance(), "kidnapped": rows}, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/robustness", "maps and bags")
    parser.add_argument("--maps", type=Path, help="folder with the maps 'redkitchen' and 'euroc', if they are there")
    parser.add_argument("--trials", type=int, default=10, help="times that the camera is carried off in a place")
    add_outputs(parser)
    return parser.parse_args()


def play(ground: Ground, black: int, arguments: argparse.Namespace) -> Figures:
    """The figures of one bag."""
    sequence = ImageSequence(recorded(ground.place, arguments))
    scenario = carried_off(ground, sequence, black, arguments.trials)
    frames = SplicedSequence(scenario, {ground.place: sequence})
    bag = arguments.work / "bags" / scenario.name.replace(" ", "_")
    record = replay_scenario(scenario, frames, map_folder(arguments) / ground.place, bag)
    waits = list(measure(record, scenario))
    noticed, found, wrong = (np.array(values) for values in zip(*waits, strict=True))
    return {
        "place": ground.place,
        "black": black,
        "trials": len(waits),
        "noticed": int((noticed <= LIMIT_S).sum()),
        "noticed_longest_s": float(noticed.max()),
        "found": int((found <= LIMIT_S).sum()),
        "found_median_s": float(np.median(found)),
        "found_longest_s": float(found.max()),
        "wrong_poses": int(wrong.sum()),
    }


def carried_off(ground: Ground, sequence: ImageSequence, black: int, count: int) -> Scenario:
    """Stretches of a few seconds, each far from the end of the one before, drawn by a seed."""
    rng = np.random.default_rng(0)
    length = round(SECONDS * ground.rate_hz)
    clips = [Clip(ground.place, _walk(ground, int(rng.choice(ground.frames)), length))]
    for _ in range(count):
        end = clips[-1].indices[-1]
        dark = [Clip(ground.place, [end] * black, dark=True)] if black else []
        clips += [*dark, Clip(ground.place, _walk(ground, int(rng.choice(far_from(end, ground, sequence))), length))]
    return Scenario(f"{ground.place} carried off {black}", ground.place, tuple(clips), ground.rate_hz)


def _walk(ground: Ground, start: int, length: int) -> tuple[int, ...]:
    """So many frames, recorded one after another: from here to the farther end, and back."""
    first, last = ground.frames[0], ground.frames[-1]
    return to_and_fro(start, last if last - start > start - first else first, length)


def measure(record: RunRecord, scenario: Scenario) -> Iterator[tuple[float, float, int]]:
    """When each kidnapping was noticed, when the camera was found, in seconds; and the wrong poses."""
    poses = run_series(record).frames
    truth = record.ground_truth
    assert truth is not None
    frames = np.rint(poses.seconds * scenario.rate_hz).astype(int)
    localized = np.array([frame.state is State.LOCALIZED for frame in record.frames], bool)
    is_right = (poses.position_error <= RIGHT[0]) & (poses.rotation_error_deg <= RIGHT[1])
    begins = np.cumsum([0, *(len(clip.indices) for clip in scenario.clips)])
    lit = [(begin, end) for begin, end, clip in zip(begins, begins[1:], scenario.clips, strict=False) if not clip.dark]
    for (_, taken), (begin, end) in pairwise(lit):
        mine = localized & (frames >= begin) & (frames < end)
        seconds = (frames - begin) / scenario.rate_hz
        was_at = truth.poses[taken - 1].translation
        behind = mine & ~is_right & (np.linalg.norm(poses.positions - was_at, axis=1) < poses.position_error)
        right = seconds[mine & is_right].min(initial=np.inf)
        yield float(seconds[behind].max(initial=0.0)), float(right), int((mine & ~is_right).sum())


def row(figures: Figures) -> list[str]:
    """One bag's line."""
    trials = figures["trials"]
    return [
        *(str(figures[key]) for key in ("place", "black", "trials")),
        f"{figures['noticed']} of {trials}",
        f"{figures['noticed_longest_s']:.1f} s",
        f"{figures['found']} of {trials}",
        *(f"{figures[key]:.1f} s" for key in ("found_median_s", "found_longest_s")),
        str(figures["wrong_poses"]),
    ]


if __name__ == "__main__":
    main()
