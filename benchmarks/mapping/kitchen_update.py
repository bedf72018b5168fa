"""A map of one part of a real recording, updated by another part, against the map of both at once.

Run: OMP_NUM_THREADS=1 python -m benchmarks.mapping.kitchen_update --data ../shared/data \\
    --markdown results/map_updates.md

Every tenth frame of red kitchen is mapped, at true poses; an update has images alone. Frames 0-249 and 250-499 show
different parts of the room. Beside the update, the same images are added (``--add-to``), as a refusal advises. The map
of both parts at once is built at true poses, and, as no update knows these, at estimated ones, aligned to the truth.
Maps are kept in the work folder.
"""

import argparse
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.mapping.weeks import errors_of, own_bytes
from benchmarks.places import known_truth, true_pose
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, read_json, table, write_json, write_outputs
from visloc_ros.core.map import open_map
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.metrics import recall
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.mapping.alignment.aligned_map import align_map
from visloc_ros.mapping.alignment.poses import align_to_poses
from visloc_ros.mapping.extension import extend_map
from visloc_ros.mapping.update.report import UpdateRefusedError
from visloc_ros.mapping.update.updater import update_map
from visloc_ros.sources import FrameSource, SourceConfig, open_source
from visloc_ros.sources.named_poses import NamedPoses

SECTION = "A kitchen, mapped in one part of a recording and updated by another"
HEADER = (
    "map", "images", "MB", "processor seconds", "found", "within 5 cm, 5°", "10 cm, 5°", "25 cm, 5°",
    "median cm", "median °",
)  # fmt: skip
THRESHOLDS = ((0.05, 5.0), (0.10, 5.0), (0.25, 5.0))


@dataclass(frozen=True)
class Day:
    """Frames that are mapped, those of the day that follows, both, and those that are searched afterwards."""

    mapped: SourceConfig
    update: SourceConfig
    both: SourceConfig
    searched: SourceConfig


_EARLY, _LATE = SourceConfig(last=249, every=10), SourceConfig(first=250, last=499, every=10)
_BOTH, _SEARCHED = SourceConfig(last=499, every=10), SourceConfig(first=500, last=749, every=4)
DAYS = (
    Day(_EARLY, _LATE, _BOTH, _SEARCHED),
    Day(_LATE, _EARLY, _BOTH, _SEARCHED),
    Day(
        _BOTH,
        SourceConfig(first=500, last=749, every=10),
        SourceConfig(last=749, every=10),
        SourceConfig(first=502, last=749, every=5),
    ),
)


def main() -> None:
    """Build, update and search all maps, and write the tables."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/kitchen_update")
    parser.add_argument("--days", type=int, nargs="+", choices=range(len(DAYS)), default=range(len(DAYS)))
    add_outputs(parser)
    arguments = parser.parse_args()
    report = {**provenance(), "days": [measured(DAYS[day], arguments) for day in arguments.days]}
    write_outputs(arguments, SECTION, report, as_markdown(report))


def measured(day: Day, arguments: argparse.Namespace) -> Figures:
    """Figures of all maps of a day, and what the update said."""
    kitchen, work = arguments.data / "7scenes_redkitchen", arguments.work
    words = {path: made(path, make) for path, make in maps_of(day, kitchen, work)}
    paths = [path for path in words if path.exists()]
    found = errors_of(open_source(kitchen, day.searched), *paths)
    maps = [
        {
            "map": path.name,
            "images": len(open_map(path).images),
            "bytes": own_bytes(path),
            **words[path],
            "errors": errors.round(4).tolist(),
        }
        for path, errors in zip(paths, found, strict=True)
    ]
    said = [{"map": path.name, "words": one["words"]} for path, one in words.items() if one["words"]]
    return {"searched": _span(day.searched), "maps": maps, "said": said}


def maps_of(day: Day, kitchen: Path, work: Path) -> Iterator[tuple[Path, Callable[[Path], object]]]:
    """The folders of a day's maps and how each is made, in this order."""
    name, update = _span(day.mapped), open_source(kitchen, day.update)
    first, later = work / name, _span(day.update)
    yield first, partial(build, open_source(kitchen, day.mapped))
    yield work / f"{name}, updated by {later}", partial(updated, first, update)
    yield work / f"{name}, {later} added", lambda path: extend_map(first, update, path)
    both = open_source(kitchen, day.both)
    yield work / _span(day.both), partial(build, both)
    yield work / f"{_span(day.both)}, poses estimated", partial(build_estimated, both)


def _span(frames: SourceConfig) -> str:
    return f"{frames.first}-{frames.last}"


def made(path: Path, make: Callable[[Path], object]) -> Figures:
    """Make a map if missing; gives the processor seconds that it took, and the words of an update."""
    notes = path.parent / "notes" / f"{path.name}.json"
    if not notes.exists():
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        start = time.process_time()
        words = make(path)
        seconds = time.process_time() - start
        write_json(notes, {"processor_s": seconds, "words": words if isinstance(words, str) else ""})
    return read_json(notes)


def build(frames: FrameSource, path: Path) -> None:
    """Build a map at true poses."""
    build_map(frames, path, MappingConfig(), reference_poses=known_truth(frames))


def build_estimated(frames: FrameSource, path: Path) -> None:
    """Build a map at estimated poses, and align it to the true ones."""
    build_map(frames, path, MappingConfig())
    truth = known_truth(frames)
    known = NamedPoses({frame.name: true_pose(truth, frame.stamp_ns) for frame in frames})
    align_map(path, path, partial(align_to_poses, references=known), overwrite=True)


def updated(first: Path, recording: FrameSource, path: Path) -> str:
    """Update a copy of a map, and say what that did; there is no copy where it is refused."""
    shutil.copytree(first, path)
    try:
        return str(update_map(path, recording))
    except UpdateRefusedError as error:
        shutil.rmtree(path)
        return f"refused: {error}"


def as_markdown(report: Figures) -> str:
    """A table for each day, and what its update said."""
    parts = []
    for day in report["days"]:
        parts.append(f"Searched: frames {day['searched']}.")
        parts.append(table(HEADER, map(_cells, day["maps"])))
        parts.append("\n".join(f"- {one['map']}: {one['words']}" for one in day["said"]))
    return "\n\n".join(parts)


def _cells(one: Figures) -> list[str]:
    errors = np.array(one["errors"])
    median_m, median_deg = np.nanmedian(errors, axis=0)
    return [
        one["map"],
        str(one["images"]),
        f"{1e-6 * one['bytes']:.1f}",
        f"{one['processor_s']:.0f}",
        f"{np.isfinite(errors[:, 0]).sum()} of {len(errors)}",
        *(f"{within.percent:.0f} %" for within in recall(errors, len(errors), THRESHOLDS)),
        f"{100 * median_m:.1f}",
        f"{median_deg:.2f}",
    ]


if __name__ == "__main__":
    main()
