"""Whether maps can be merged at all: made by the same models, and not one map twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from visloc_ros.core.errors import MapError
from visloc_ros.core.map import Map
from visloc_ros.mapping.map_models import stated_extractor


def check_mergeable(maps: Sequence[Map]) -> None:
    """Refuse maps whose features cannot be compared, and a map that is given twice. Raises MapError."""
    for map_ in maps[1:]:
        _check_features(maps[0], map_)
    for one, other in combinations(maps, 2):
        if _images(one) & _images(other):
            raise MapError(
                f"'{one.name}' and '{other.name}' hold the same images: a map can be merged only with maps of other "
                "images; extend one of them by what it lacks (visloc build-map VIDEO --add-to MAP)"
            )


def _check_features(a: Map, b: Map) -> None:
    ours, theirs = stated_extractor(a), stated_extractor(b)
    if ours.name != theirs.name:
        raise MapError(
            f"'{a.name}' was made with '{ours.name}', '{b.name}' with '{theirs.name}', which cannot be compared: build "
            f"one of them again with features.name '{ours.name}' or '{theirs.name}'"
        )
    if ours.sha256 and theirs.sha256 and ours.sha256 != theirs.sha256:
        raise MapError(
            f"'{a.name}' and '{b.name}' were made with other weights of '{ours.name}' (SHA-256 {ours.sha256[:12]}..., "
            f"{theirs.sha256[:12]}...): build one of them again with the weights of the other"
        )
    lengths = {image.features.descriptors.shape[1] for map_ in (a, b) for image in map_.images}
    if len(lengths) > 1:
        raise MapError(f"'{a.name}' and '{b.name}' hold descriptors of lengths {sorted(lengths)}: build one again")


def _images(map_: Map) -> set[bytes]:
    """What tells an image apart, whatever its name: which keypoints it has."""
    return {image.features.keypoints.tobytes() for image in map_.images if len(image.features)}
