"""Compares ways of searching: the same features of the same images, searched in the same map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import Map
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import AnchorPose, Frame, Rejection
from visloc_ros.evaluation.association import truth_at
from visloc_ros.evaluation.metrics import finite_median, pose_errors, recall
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import check_search
from visloc_ros.localization.searchable_map import find_strategy

THRESHOLDS = ((0.05, 5.0), (0.25, 2.0))
"""Metres and degrees within which a pose counts."""

_FEATURES = "features"


@dataclass(eq=False)
class SearchRecord:
    """Results of one way of searching, and the true poses where they are known."""

    results: list[AnchorPose | Rejection] = field(default_factory=list)
    truths: list[SE3 | None] = field(default_factory=list)

    def add(self, result: AnchorPose | Rejection, truth: SE3 | None) -> None:
        """Count one image."""
        self.results.append(result)
        self.truths.append(truth)

    @property
    def errors(self) -> Array:
        """Position [m] and rotation [deg] errors (N, 2) of the images with truth, infinite without a pose."""
        known = [(result, truth) for result, truth in zip(self.results, self.truths, strict=True) if truth is not None]
        poses = [result.map_from_camera if isinstance(result, AnchorPose) else None for result, _ in known]
        errors = pose_errors(poses, [truth for _, truth in known])
        return np.where(np.isnan(errors), np.inf, errors)

    def search_ms(self) -> list[float]:
        """The time of each image, without features."""
        return [sum(ms for stage, ms in one.stage_ms.items() if stage != _FEATURES) for one in self.results]

    def figures(self) -> dict[str, Any]:
        """Counts, recalls, median errors and times; figures by truth are None without it."""
        found = [one for one in self.results if isinstance(one, AnchorPose)]
        errors, search_ms = self.errors, self.search_ms()
        features_ms = [one.stage_ms.get(_FEATURES, 0.0) for one in self.results]
        within = recall(errors, len(errors), THRESHOLDS)
        return {
            "images": len(self.results),
            "found": len(found),
            "with_truth": len(errors),
            "recall": [asdict(one) for one in within] if len(errors) else [],
            "position_m": finite_median(errors[:, 0]),
            "rotation_deg": finite_median(errors[:, 1]),
            "search_ms": finite_median(search_ms),
            "with_features_ms": finite_median(np.add(search_ms, features_ms)),
            "references": float(np.mean([len(one.references) for one in found])) if found else None,
        }


def choose_searches(names: str) -> list[str]:
    """Ways of searching named by commas, each once; none where none is named. Raises ConfigError."""
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        check_search(name)
    return list(dict.fromkeys(chosen))


def make_engines(place: Map, searches: Sequence[str], config: AnchorConfig) -> dict[str, AnchorEngine]:
    """An engine for each way of searching, with models in common. Raises MapError, ModelError."""
    engines: dict[str, AnchorEngine] = {}
    for name in searches:
        models = next(((one.extractor, one.matcher) for one in engines.values()), ())
        engines[name] = AnchorEngine(place, replace(config, search=name), *models)
    return engines


def compare_searches(
    engines: Mapping[str, AnchorEngine], frames: Iterable[Frame], truth: Trajectory | None
) -> dict[str, SearchRecord]:
    """Search every frame in all ways, by name.

    The features of a frame are extracted once. Each way has searched the first frame before it is timed.
    """
    records = {name: SearchRecord() for name in engines}
    looking, is_first = next(iter(engines.values())), True
    for frame in frames:
        query = looking.extract(frame)
        if is_first:
            for engine in engines.values():
                engine.localize(frame, features=query.features)
            query, is_first = looking.extract(frame), False
        true_pose = None if truth is None else truth_at(truth, frame.stamp_ns)
        for name, engine in engines.items():
            records[name].add(engine.solve(query.for_another_search()), true_pose)
    return records


def searched_bytes(map_: Map, way: str) -> dict[str, int]:
    """Bytes of a map's files that a way of searching needs, by part.

    Prepared files of ways of searching are in folders of their names; all others belong to a search of the whole map.
    """
    files = map_.manifest.files
    own = {name.removeprefix(f"{way}/"): info.size for name, info in files.items() if name.startswith(f"{way}/")}
    if own and find_strategy(way).can_reduce:
        return own
    prepared = tuple(f"{one}/" for one in map_.manifest.prepared)
    return {name: info.size for name, info in files.items() if not name.startswith(prepared)} | own
