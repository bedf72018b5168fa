"""An atlas: several maps in one frame, each with its transform and the covariance of that, in ``atlas.yaml``.

(The name is that of ORB-SLAM3, Campos et al. 2021, whose atlas holds maps without known transforms, too.) The maps lie
beside the atlas, under the names that the file gives them, and stay as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.errors import MapError
from visloc_ros.core.files import read_yaml
from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.core.manifest import ALIGNED, Manifest
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.similarity_estimate import SimilarityEstimate

ATLAS_NAME = "atlas.yaml"
_LARGEST = 1e9  # of a translation or a scale


@dataclass(frozen=True, eq=False)
class PlacedMap:
    """A map of an atlas: ``atlas_from_map``, and what that rests on.

    ``version`` identifies the images and points that were placed, ``frame_uuid`` the frame that they were in; they are
    empty where any will do.
    """

    name: str
    estimate: SimilarityEstimate
    placed_by: str
    version: str = ""
    frame_uuid: str = ""

    @property
    def atlas_from_map(self) -> Sim3:
        """The transform without its covariance."""
        return self.estimate.a_from_b


@dataclass(frozen=True, eq=False)
class Atlas:
    """The maps of an atlas, and the row of the first point of each (K,) among the points of all."""

    maps: tuple[PlacedMap, ...]
    first_points: NDArray[np.intp]

    def map_of(self, point_rows: NDArray[np.integer]) -> PlacedMap:
        """The map that most of these points, one or more, are of."""
        own = np.searchsorted(self.first_points, point_rows, side="right") - 1
        return self.maps[int(np.bincount(own).argmax())]


def placed_now(one: PlacedMap, manifest: Manifest) -> PlacedMap | None:
    """The map of an atlas as it is now: moved with it, where it was aligned since; None where it was changed."""
    if not one.version or one.version in (manifest.model_id, _version_of_older(manifest)):
        return one
    models = [step["model_id"] for step in manifest.history]
    if one.version not in models:
        return None
    since = manifest.history[models.index(one.version) :]
    map_from_placed = manifest.frame.from_frame(CoordinateFrame(one.frame_uuid))
    if map_from_placed is None or any(step["change"] != ALIGNED for step in since):
        return None
    return replace(one, estimate=one.estimate @ SimilarityEstimate.exact(map_from_placed.inverse))


def version_of(manifest: Manifest) -> str:
    """Identifies the images and points of a map. Raises MapError for stock hloc's."""
    if not manifest.files:
        raise MapError(f"the map '{manifest.name}' is no whole map of this package: bring it, or import one of hloc")
    return manifest.model_id


def _version_of_older(manifest: Manifest) -> str:
    """The same as atlases had it before maps had the id of their model."""
    own = {name: one.sha256 for name, one in manifest.files.items() if name.split("/")[0] not in manifest.prepared}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def is_atlas(manifest: Manifest) -> bool:
    """Whether a folder with this manifest is an atlas."""
    return ATLAS_NAME in manifest.files


def write_atlas_file(folder: Path, maps: Sequence[PlacedMap]) -> None:
    """Write ``atlas.yaml`` into a folder."""
    values = {"maps": {one.name: to_mapping(one) for one in maps}}
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=120)
    (folder / ATLAS_NAME).write_text(text, encoding="utf-8")


def read_atlas_file(path: Path) -> tuple[PlacedMap, ...]:
    """The maps that ``atlas.yaml``, or a file like it, places. Raises MapError that says what is wrong."""
    values = read_yaml(path, MapError).get("maps")
    if not isinstance(values, dict) or not values:
        raise MapError(
            f"{path} names no maps: give 'maps', and below the name of each 'atlas_from_map' and 'covariance'"
        )
    return tuple(_placed(path, name, one) for name, one in values.items())


def _placed(path: Path, name: str, values: Any) -> PlacedMap:
    if Path(name).name != name or name == "..":
        raise MapError(f"{path} names the map '{name}' outside its folder: do not trust this atlas")
    try:
        estimate = SimilarityEstimate(_transform(values["atlas_from_map"]), _covariance(values["covariance"]))
        words = (str(values.get(entry, "")) for entry in ("version", "frame_uuid"))
        return PlacedMap(name, estimate, str(values.get("placed_by", "given")), *words)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MapError(
            f"{path} lacks or garbles an entry of the map '{name}' ({error}): give 'atlas_from_map' with 'translation' "
            "(x, y, z), 'rotation' (x, y, z, w) and 'scale', and 'covariance', 7 x 7 or its diagonal: of the position, "
            "of the rotation vector in radians, and of the scale's logarithm"
        ) from error


def _transform(values: Mapping[str, Any]) -> Sim3:
    moved = [float(values["translation"][axis]) for axis in "xyz"]
    turned = [float(values["rotation"][axis]) for axis in "wxyz"]
    scale = float(values.get("scale", 1.0))
    if not (0.0 < scale < _LARGEST and np.abs([*moved, *turned]).max() < _LARGEST):
        raise ValueError("the transform is not finite")
    return Sim3.from_se3(SE3.from_quaternion(turned, moved), scale)


def _covariance(values: Any) -> Array:
    given = np.array(values, np.float64)
    covariance = np.diag(given) if given.ndim == 1 else given
    fault = covariance_fault(covariance, size=7, is_part=True)  # the first map of an atlas is exact
    if fault is not None:
        raise ValueError(f"the covariance is invalid: {fault}")
    return covariance


def to_mapping(one: PlacedMap) -> dict[str, Any]:
    """The entry of a map as plain values."""
    pose, covariance = SE3(one.atlas_from_map.rotation, one.atlas_from_map.translation), one.estimate.covariance
    is_diagonal = not np.any(covariance - np.diag(np.diag(covariance)))
    return {
        "atlas_from_map": {
            "translation": dict(zip("xyz", pose.translation.tolist(), strict=True)),
            "rotation": dict(zip("wxyz", pose.quaternion.tolist(), strict=True)),
            "scale": one.atlas_from_map.scale,
        },
        "covariance": (np.diag(covariance) if is_diagonal else covariance).tolist(),
        "placed_by": one.placed_by,
        "version": one.version,
        "frame_uuid": one.frame_uuid,
    }
