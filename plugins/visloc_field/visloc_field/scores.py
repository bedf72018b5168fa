"""Scores of a scene as in papers: median errors, and shares of queries within the thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from visloc_field.run_files import QueryRecord
from visloc_field.scene import BenchmarkScene, QueryImage, Thresholds
from visloc_ros.evaluation.metrics import Recall, finite_median, pose_errors, recall


@dataclass(frozen=True)
class Score:
    """Figures of some queries: counts, median errors in metres and degrees, percentages, median time in ms.

    A query without a pose has an infinite error; a median that is infinite, or without any truth, is None, and without
    truth there are no percentages.
    """

    queries: int
    found: int
    with_truth: int
    position_m: float | None
    rotation_deg: float | None
    recall: tuple[Recall, ...]
    search_ms: float | None

    def figures(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def score_scene(scene: BenchmarkScene, records: Mapping[str, QueryRecord]) -> dict[str, Score]:
    """Scores by condition, and of all queries under the empty name, which comes first."""
    scores = {"": score(scene.queries, records, scene.thresholds)}
    for condition in scene.conditions:
        alike = [query for query in scene.queries if query.condition == condition]
        scores[condition] = score(alike, records, scene.thresholds)
    return scores


def score(queries: Sequence[QueryImage], records: Mapping[str, QueryRecord], thresholds: Thresholds) -> Score:
    """Score queries by the records of their names; a query without a record counts as not found."""
    poses = {name: record.map_from_camera for name, record in records.items()}
    known = [query for query in queries if query.map_from_camera is not None]
    errors = pose_errors([poses.get(query.name) for query in known], [query.map_from_camera for query in known])
    infinite = np.where(np.isnan(errors), np.inf, errors)
    searched = [records[query.name].search_ms for query in queries if query.name in records]
    return Score(
        len(queries),
        sum(poses.get(query.name) is not None for query in queries),
        len(known),
        finite_median(infinite[:, 0]),
        finite_median(infinite[:, 1]),
        recall(errors, len(known), thresholds) if known else (),
        finite_median(searched),
    )


def mean_score(scores: Sequence[Score]) -> Score:
    """The unweighted mean over scenes of their medians and percentages, as in papers; counts are added up."""
    recalls = zip(*(one.recall for one in scores if one.recall), strict=True)
    return Score(
        sum(one.queries for one in scores),
        sum(one.found for one in scores),
        sum(one.with_truth for one in scores),
        _mean([one.position_m for one in scores]),
        _mean([one.rotation_deg for one in scores]),
        tuple(_mean_recall(of_scenes) for of_scenes in recalls),
        _mean([one.search_ms for one in scores]),
    )


def _mean_recall(of_scenes: Sequence[Recall]) -> Recall:
    first = of_scenes[0]
    return Recall(first.distance_m, first.angle_deg, float(np.mean([one.percent for one in of_scenes])))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
