"""An experiment of geolocation: photos with known places are located in a database, and the answers compared."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from visloc_geo.answer import GeoAnswer
from visloc_geo.database import GeoDatabase
from visloc_geo.features import load_image
from visloc_geo.map_page import Ellipse, Kind, Line, Marker, write_map_page
from visloc_geo.metadata import camera_from_anchor
from visloc_geo.orientation import heading_difference_deg
from visloc_geo.solving.types import GeoRejection, PhotoPose
from visloc_geo.view import View
from visloc_ros.core.errors import GeoError
from visloc_ros.core.geometry import SE3, Array, rotation_angle_deg
from visloc_ros.core.types import Frame
from visloc_ros.core.wgs84 import distances_m
from visloc_ros.evaluation.metrics import recall

THRESHOLDS = ((0.5, 2.0), (1.0, 5.0), (5.0, 10.0))
"""Metres and degrees, of a photo's position and rotation."""

RETRIEVED = (1, 5, 10)
"""Numbers of retrieved views of which one must be near."""

NEAR_M = (10.0, 25.0)


@dataclass(frozen=True, eq=False)
class LocatedQuery:
    """The answer to a query, and the view that holds its true place, as far as that is known."""

    answer: GeoAnswer
    truth: View

    @cached_property
    def true_pose(self) -> tuple[Array, Array | None] | None:
        """Position (3,) and rotation (3, 3) of ``enu_from_camera``; what is not known is None."""
        at = self.truth.position
        if at is None:
            return None
        frame = self.answer.frame
        altitude = frame.altitude if at.altitude is None else at.altitude
        pose = self.truth.enu_from_camera(frame)
        position = frame.from_geodetic([at.latitude, at.longitude, altitude])[0]
        return position, None if pose is None else pose.rotation

    def distance_m(self, position: Array) -> float:
        """Distance of a position from the true one: horizontal where the true altitude is not known."""
        if self.true_pose is None or self.truth.position is None:
            return float("nan")
        axes = 2 if self.truth.position.altitude is None else 3
        return float(np.linalg.norm((position - self.true_pose[0])[:axes]))

    @property
    def errors(self) -> tuple[float, float]:
        """Metres and degrees; NaN where answer or truth is missing."""
        pose = self.answer.pose
        if pose is None or self.true_pose is None:
            return float("nan"), float("nan")
        turned = float("nan")
        if pose.rotation is not None and self.true_pose[1] is not None:
            turned = rotation_angle_deg(pose.rotation, self.true_pose[1])
        return self.distance_m(pose.position), turned

    @property
    def heading_error_deg(self) -> float:
        """Degrees, without sign."""
        pose, looks = self.answer.pose, self.truth.orientation
        if pose is None or pose.angles_deg is None or looks is None:
            return float("nan")
        return abs(heading_difference_deg(pose.angles_deg[0], looks.heading_deg))

    @property
    def best_tag_error_m(self) -> float:
        """How far off the tag of the most similar view would be as the answer."""
        best = self.answer.result.best_tag
        return float("nan") if best is None else self.distance_m(best.position)


def frames_of(queries: GeoDatabase) -> Iterator[tuple[Frame, View]]:
    """Photos of a database with the views that describe them. Raises GeoError where one has no camera."""
    for number, view in enumerate(queries):
        if view.camera is None:
            raise GeoError(
                f"'{view.name}' in {queries.folder} has no image with a camera: add it, or remove its folder"
            )
        yield Frame(number, load_image(queries, view.name), view.camera, view.name), view


def figures(located: Sequence[LocatedQuery], positions: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """All figures; failures count as not found. ``positions`` are latitudes and longitudes of the database's views."""
    known = [one for one in located if one.true_pose is not None]
    errors = np.array([one.errors for one in known]).reshape(-1, 2)
    oriented = np.array([one.true_pose is not None and one.true_pose[1] is not None for one in known], bool)
    reasons = Counter(one.answer.result.reason.value for one in located if isinstance(one.answer.result, GeoRejection))
    return {
        "queries": len(located),
        "with_truth": len(known),
        "located": sum(one.answer.pose is not None for one in located),
        "rejected": dict(sorted(reasons.items())),
        "recall": _recalls(errors[oriented], int(oriented.sum())),
        "position_error_m": _quantiles(errors[:, 0]),
        "rotation_error_deg": _quantiles(errors[:, 1]),
        "heading_error_deg": _quantiles(np.array([one.heading_error_deg for one in known])),
        "best_tag_error_m": _quantiles(np.array([one.best_tag_error_m for one in known])),
        "retrieval_recall": {f"{near:g} m": _retrieval_recall(known, positions, near) for near in NEAR_M},
        "milliseconds": _quantiles(np.array([sum(one.answer.stage_ms.values()) for one in located])),
    }


def _recalls(errors: Array, count: int) -> list[dict[str, float]]:
    """Percent of the queries whose true orientation is known, too."""
    found = recall(errors, count, THRESHOLDS)
    return [{"metres": one.distance_m, "degrees": one.angle_deg, "percent": one.percent} for one in found]


def _quantiles(values: Array) -> dict[str, float | None]:
    known = values[np.isfinite(values)]
    if not len(known):
        return {"median": None, "p90": None}
    median, p90 = np.percentile(known, [50, 90])
    return {"median": float(median), "p90": float(p90)}


def _retrieval_recall(
    known: Sequence[LocatedQuery], positions: Mapping[str, tuple[float, float]], near_m: float
) -> dict[str, float]:
    """Percent of the queries that have a view within ``near_m`` among the first retrieved ones."""
    nearest = [_nearest_so_far(one, positions) for one in known]
    return {
        str(count): 100.0 * sum(bool((distances[:count] <= near_m).any()) for distances in nearest) / max(1, len(known))
        for count in RETRIEVED
    }


def _nearest_so_far(query: LocatedQuery, positions: Mapping[str, tuple[float, float]]) -> Array:
    at = query.truth.position
    tagged = [positions[name] for name in query.answer.retrieved]
    if at is None or not tagged:
        return np.empty(0)
    return distances_m(tagged, at.latitude, at.longitude)


def write_arrays(folder: Path, located: Sequence[LocatedQuery]) -> None:
    """Write ``gt.npy`` and ``estm.npy`` (N, 4, 4), ``E`` as in ``metadata.json``, NaN without one; ``entries.npy``."""
    truths, estimates = [], []
    for one in located:
        pose = one.answer.pose
        truths.append(_extrinsics(*(one.true_pose or (None, None))))
        estimates.append(_extrinsics(None, None) if pose is None else _extrinsics(pose.position, pose.rotation))
    np.save(folder / "gt.npy", np.array(truths).reshape(-1, 4, 4))
    np.save(folder / "estm.npy", np.array(estimates).reshape(-1, 4, 4))
    np.save(folder / "entries.npy", np.array([one.truth.name for one in located]))


def _extrinsics(position: Array | None, rotation: Array | None) -> Array:
    if position is None or rotation is None:
        return np.full((4, 4), np.nan)
    return camera_from_anchor(SE3(rotation, position)).matrix


def write_table(path: Path, located: Sequence[LocatedQuery]) -> None:
    """Write a CSV file with a line for each query."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(_row(located[0])) if located else ["name"])
        writer.writeheader()
        writer.writerows(_row(one) for one in located)


def _row(one: LocatedQuery) -> dict[str, Any]:
    at, result, geodetic = one.truth.position, one.answer.result, one.answer.geodetic
    pose = result if isinstance(result, PhotoPose) else None
    metres, degrees = one.errors
    values = {
        "name": one.truth.name,
        "true_latitude": None if at is None else at.latitude,
        "true_longitude": None if at is None else at.longitude,
        "latitude": None if geodetic is None else geodetic[0],
        "longitude": None if geodetic is None else geodetic[1],
        "altitude": None if geodetic is None else geodetic[2],
        "heading_deg": None if pose is None or pose.angles_deg is None else pose.angles_deg[0],
        "horizontal_sigma_m": None if pose is None else pose.horizontal_sigma_m,
        "error_m": metres,
        "rotation_error_deg": degrees,
        "best_tag": None if result.best_tag is None else result.best_tag.view,
        "best_tag_error_m": one.best_tag_error_m,
        "kind": None if pose is None else pose.kind.value,
        "inliers": None if pose is None else len(pose.inliers),
        "reason": result.reason.value if isinstance(result, GeoRejection) else None,
        "milliseconds": round(sum(one.answer.stage_ms.values()), 1),
    }
    return {key: "" if value is None or value != value else value for key, value in values.items()}


def write_page(
    path: Path, located: Sequence[LocatedQuery], positions: Mapping[str, tuple[float, float]], tiles: bool = False
) -> None:
    """Write a map of the views, and of each query's estimate, uncertainty and truth. Raises OutputError."""
    markers = [Marker(*at, name, Kind.VIEW) for name, at in positions.items()]
    lines, ellipses = list[Line](), list[Ellipse]()
    for one in located:
        at, geodetic = one.truth.position, one.answer.geodetic
        if at is not None:
            markers.append(Marker(at.latitude, at.longitude, one.truth.name, Kind.TRUTH))
        if geodetic is None or one.answer.pose is None:
            continue
        markers.append(Marker(*geodetic[:2], one.truth.name, Kind.ESTIMATE))
        ellipses.append(Ellipse(*geodetic[:2], one.answer.pose.covariance[:2, :2], one.truth.name))
        if at is not None:
            lines.append(Line([geodetic[:2], (at.latitude, at.longitude)], one.truth.name, Kind.ERROR))
    write_map_page(path, markers, lines, ellipses, tiles=tiles)


def positions_of(database: GeoDatabase) -> dict[str, tuple[float, float]]:
    """Latitude and longitude in degrees of the views that have a position."""
    return {view.name: (view.position.latitude, view.position.longitude) for view in database if view.position}
