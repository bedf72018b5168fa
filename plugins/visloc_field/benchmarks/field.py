"""The field's data sets that lie below a folder, as they are downloaded: each is run, in one table with the papers.

Run: python -m plugins.visloc_field.benchmarks.field --data ../shared/data \\
         --markdown plugins/visloc_field/results/field.md
7-Scenes, 12-Scenes, Aachen, RobotCar Seasons, Cambridge Landmarks and Extended CMU Seasons are run by their protocols,
sequences of EuRoC, KITTI and TUM RGB-D by odometry. A part of one is run as well, and named as such: what papers state
is of the whole, and not to be compared with it. A run that was interrupted goes on where it stopped.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_field.data_sets import DATA_SETS, find_data_set
from visloc_field.excerpt import read_excerpt
from visloc_field.found_data import SEQUENCES, FoundData, find_data
from visloc_field.protocol import BenchmarkConfig, run_protocol
from visloc_field.published import Published, published_for, sequence_name
from visloc_field.scene import BenchmarkScene
from visloc_field.scores import Score, score_scene
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import VislocError
from visloc_ros.evaluation import OdometryErrors, evaluate_odometry
from visloc_ros.evaluation.decoding import decode
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.odometry_run import OdometryRun, run_odometry, with_earlier_poses
from visloc_ros.evaluation.search_comparison import choose_searches
from visloc_ros.evaluation.summary import percentiles
from visloc_ros.localization.config import RETRIEVAL
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.sources import open_source

EXCERPT = "excerpt: "
OF_THE_WHOLE = "of the whole: "
UNKNOWN = "–"
NOTE = (
    "Rows marked as an excerpt are of a part of the data set alone: what papers state is of the whole, and **not "
    "comparable** with it. Position errors are medians, of odometry the root mean square after an alignment with scale "
    "(ATE) of its worst segment. Times are of one search without features, or of a frame (medians)."
)


@dataclass(frozen=True)
class Row:
    """A scene, condition or sequence; ``published`` has the methods' figures by name, with the source of each."""

    data_set: str
    name: str
    images: str
    method: str
    ours: str
    ms: float | None
    published: Mapping[str, tuple[str, str]]
    is_whole: bool


def main() -> None:
    """Run what is found, and write the table."""
    arguments = parse_arguments()
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for found in (one for folder in arguments.data for one in find_data(folder)):
        print(f"{found.data_set}: {found.folder}", flush=True)
        try:
            rows += run_sequence(found, arguments) if found.is_sequence else run_scenes(found, arguments)
        except VislocError as error:
            failed[str(found.folder)] = str(error)
    report: Figures = {**provenance(), "rows": [asdict(row) for row in rows], "failed": failed}
    write_outputs(arguments, "The field's data sets", report, field_table(rows, failed, arguments.every))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders that hold data sets")
    parser.add_argument("--work", type=Path, default=Path("out/field"), help="folder for maps and results of queries")
    parser.add_argument("--every", type=int, default=1, help="map every n-th image of the database")
    parser.add_argument("--search", default=RETRIEVAL, help="ways of searching, by commas")
    parser.add_argument("--backend", default=OdometryConfig().backend, help="odometry")
    parser.add_argument("--config", type=Path, help="sections mapping and anchor, as of visloc benchmark")
    add_outputs(parser)
    return parser.parse_args()


def run_scenes(found: FoundData, arguments: argparse.Namespace) -> list[Row]:
    """Map and search all scenes of a data set, or the end of an excerpt."""
    read = find_data_set(found.data_set).read(found.folder, ()) if found.is_whole else [read_excerpt(found.folder)]
    scenes = [scene.thinned(arguments.every) for scene in read]
    searches = choose_searches(arguments.search)
    folder = arguments.work / f"{found.data_set}_{found.folder.resolve().name}"
    records = run_protocol(scenes, searches, folder, read_config(BenchmarkConfig, arguments.config))
    return [
        row
        for scene in scenes
        for search in searches
        for row in localization_rows(found, scene, search, score_scene(scene, records[scene.name][search]))
    ]


def run_sequence(found: FoundData, arguments: argparse.Namespace) -> list[Row]:
    """Track a sequence by odometry, repeatably, and compare it with its true poses where it has any."""
    source = open_source(found.folder)
    config = replace(OdometryConfig(), backend=arguments.backend)
    run = with_earlier_poses(run_odometry(lambda: make_odometry(config), decode(source)))
    return [odometry_row(found, arguments.backend, run, evaluate_odometry(run.results, source.ground_truth))]


def localization_rows(
    found: FoundData, scene: BenchmarkScene, search: str, scores: Mapping[str, Score]
) -> Iterator[Row]:
    """A row for a scene, and one for each of its conditions; those that are missing are named."""
    known = published_for(found.data_set)
    name = scene.name if found.is_whole else scene.name.removeprefix("7scenes_")
    for condition, score in scores.items():
        images = f"{len(scene.database)} mapped, {score.queries} searched"
        if scene.missing and not condition:
            images += f"; missing: {', '.join(scene.missing)}"
        yield Row(
            DATA_SETS[found.data_set].title,
            f"{name}, {condition}" if condition else name,
            images,
            search,
            _found(score, scene),
            score.search_ms,
            dict(_published(known, condition or name)),
            found.is_whole,
        )


def odometry_row(found: FoundData, backend: str, run: OdometryRun, errors: OdometryErrors) -> Row:
    """The row of a sequence."""
    name, coverage = sequence_name(found.data_set, found.folder.resolve().name), errors.coverage
    ate = UNKNOWN if errors.worst_rmse_m is None else f"{errors.worst_rmse_m:.3f} m"
    pieces = f" in {len(errors.segments)} pieces" if len(errors.segments) > 1 else ""
    latency = percentiles(frame.track_ms for frame in run.frames)
    return Row(
        SEQUENCES[found.data_set],
        name,
        f"{coverage.num_frames} frames, {coverage.num_tracked} tracked{pieces}",
        backend,
        ate,
        latency["p50"] if latency else None,
        {
            one.method: (f"{one.ate_m[name]:g} m", one.source)
            for one in published_for(found.data_set)
            if name in one.ate_m
        },
        found.is_whole,
    )


def _found(score: Score, scene: BenchmarkScene) -> str:
    """Median errors and percentages within the thresholds; how many were found where a server has the truth."""
    if not score.with_truth:
        return f"found {score.found}; the server has the truth"
    errors = "more than half not found"
    if score.position_m is not None and score.rotation_deg is not None:
        errors = f"{100 * score.position_m:.1f} cm, {score.rotation_deg:.2f}°"
    within = " / ".join(f"{one.percent:.1f}" for one in score.recall)
    thresholds = " / ".join(f"{distance:g} m, {angle:g}°" for distance, angle in scene.thresholds)
    return f"{errors}; {within} % within {thresholds}"


def _published(known: Sequence[Published], place: str) -> Iterator[tuple[str, tuple[str, str]]]:
    for one in known:
        if place in one.recalls:
            yield one.method, (f"{' / '.join(f'{percent:.1f}' for percent in one.recalls[place])} %", one.source)
        elif place in one.medians_cm:
            yield one.method, (f"{one.medians_cm[place]:g} cm", one.source)


def field_table(rows: Sequence[Row], failed: Mapping[str, str], every: int = 1) -> str:
    """The table, the sources of what is published, and what could not be run and why."""
    header = ["data set", "scene or sequence", "images", "method", "ours", "ms", "published"]
    sources: dict[str, list[str]] = {}
    for row in rows:
        for method, (_, source) in row.published.items():
            sources.setdefault(source, []).append(f"{method} on {row.data_set}")
    cited = "\n".join(f"- {source}: {', '.join(dict.fromkeys(of))}" for source, of in sources.items())
    parts = [
        NOTE,
        f"Of databases one image of {every} is mapped." if every > 1 else "",
        table(header, (_cells(row) for row in rows)),
        f"Sources:\n\n{cited}" if cited else "",
        "Not run:\n\n" + "\n".join(f"- {folder}: {reason}" for folder, reason in failed.items()) if failed else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _cells(row: Row) -> list[str]:
    published = "; ".join(f"{method} {figure}" for method, (figure, _) in row.published.items())
    return [
        row.data_set,
        row.name,
        row.images if row.is_whole else EXCERPT + row.images,
        row.method,
        row.ours,
        UNKNOWN if row.ms is None else f"{row.ms:.0f}",
        (published if row.is_whole else OF_THE_WHOLE + published) if published else UNKNOWN,
    ]


if __name__ == "__main__":
    main()
