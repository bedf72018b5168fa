"""The table of the field's data sets: a row a scene, condition or sequence, and what papers state beside it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.results_file import table
from testing.place_recognition import SEQUENCES, FoundData
from visloc_ros.evaluation import OdometryErrors
from visloc_ros.evaluation.benchmarks.data_sets import DATA_SETS
from visloc_ros.evaluation.benchmarks.published import Published, published_for, sequence_name
from visloc_ros.evaluation.benchmarks.scene import BenchmarkScene
from visloc_ros.evaluation.benchmarks.scores import Score
from visloc_ros.evaluation.odometry_run import OdometryRun
from visloc_ros.evaluation.summary import percentiles

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
