"""Which views of a database show the same, by their matches alone: what their tags are held against."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from visloc_geo.database import GeoDatabase
from visloc_geo.descriptor_files import descriptor_file, load_descriptors
from visloc_geo.features import feature_config, load_keypoints
from visloc_geo.solving.config import SolvingConfig
from visloc_geo.solving.observations import UNTAGGED
from visloc_geo.solving.two_view import verify
from visloc_geo.solving.types import Reference
from visloc_geo.view import View
from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import GeoError
from visloc_ros.core.files import exists, is_file, read_text
from visloc_ros.core.geometry import SE3, rotation_matrix, rotation_vector
from visloc_ros.core.map_layout import VLAD
from visloc_ros.core.progress import Progress, SilentProgress, track
from visloc_ros.features.registry import make_matcher
from visloc_ros.features.types import Matcher

ALIKE_NAME = "alike.json"
_LEAST_MATCHES, _LEAST_SHARE = 50, 0.15
"""Of the keypoints of an image: two streets have 43 of 1024 in common, and so do the ends of one street that look the
same way."""
_PARTNERS = 3  # views most like it, with which each is matched
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class AlikeView:
    """A view that shows the same as another one, by their matches alone.

    ``apart`` is how far they are apart, as a share of the distance to what both see (``VerifiedView.apart``);
    ``view_from_alike`` is the motion between them, whose translation has the length 1, None where it was not stored.
    """

    apart: float
    view_from_alike: SE3 | None = None


AlikeViews = Mapping[str, Mapping[str, AlikeView]]
"""Of each view that was matched, those that show the same."""


def match_alike_views(database: GeoDatabase, matcher: Matcher | None = None, progress: Progress | None = None) -> int:
    """Match the views that were not yet with those most like them; gives their number.

    Views without features and descriptor are left out. Raises GeoError, OutputError.
    """
    views = {view.name: view for view in database if _is_described(database, view)}
    known = {name: dict(one) for name, one in read_alike_views(database).items()}
    missing = [name for name in views if name not in known]
    if not missing:
        return 0
    names, descriptors = load_descriptors(database, VLAD)
    descriptor_of = dict(zip(names, descriptors, strict=True))
    matcher = matcher or make_matcher(extractor=feature_config(database).name)
    try:
        for name in track(progress or SilentProgress(), "alike views", missing, len(missing)):
            ranked = (names[row] for row in np.argsort(-descriptors @ descriptor_of[name], kind="stable"))
            others = (views[one] for one in ranked if one in views and _are_of_two_places(views[name], views[one]))
            known[name] = _alike(database, matcher, views[name], list(islice(others, _PARTNERS)))
    finally:  # what Ctrl-C ends is continued
        _write(database, known)
    return len(missing)


def forget_alike_views(database: GeoDatabase, names: Collection[str]) -> None:
    """Forget which views show the same as these, before they are removed: others may get their names.

    Raises GeoError, OutputError.
    """
    known = read_alike_views(database)
    if known:
        rest = {one: {name: row[name] for name in row.keys() - names} for one, row in known.items() if one not in names}
        _write(database, rest)


def _write(database: GeoDatabase, alike: AlikeViews) -> None:
    with atomic_write(database.folder / ALIKE_NAME) as path:
        rows = {name: {other: _to_json(one) for other, one in row.items()} for name, row in alike.items()}
        path.write_text(json.dumps(rows, allow_nan=False) + "\n", encoding="utf-8")


def read_alike_views(database: GeoDatabase) -> AlikeViews:
    """Views that are alike, as far as they were matched. Raises GeoError."""
    path = database.folder / ALIKE_NAME
    if not exists(path):
        return {}
    try:
        found = json.loads(read_text(path, GeoError, _MAX_BYTES))
        return {str(name): {str(other): _from_json(one) for other, one in row.items()} for name, row in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise GeoError(f"cannot use {path}: {error}; remove it, and 'visloc geo add' makes it again") from error


def _to_json(one: AlikeView) -> list[float]:
    motion = one.view_from_alike
    return [one.apart] if motion is None else [one.apart, *rotation_vector(motion.rotation), *motion.translation]


def _from_json(values: Sequence[float] | float) -> AlikeView:
    """Of older databases the distance alone. Raises ValueError or TypeError."""
    apart, *motion = [float(value) for value in np.atleast_1d(values)]
    if not motion:
        return AlikeView(apart)
    if len(motion) != 6 or not np.isfinite([apart, *motion]).all():
        raise ValueError(f"{values} is no motion")
    return AlikeView(apart, SE3(rotation_matrix(motion[:3]), np.array(motion[3:])))


def _is_described(database: GeoDatabase, view: View) -> bool:
    has_files = is_file(database.keypoints_path(view.name)) and descriptor_file(database, view.name, VLAD) is not None
    return view.camera is not None and has_files


def _are_of_two_places(one: View, other: View) -> bool:
    return one.name != other.name and (one.panorama is None or one.panorama != other.panorama)


def _alike(database: GeoDatabase, matcher: Matcher, view: View, others: Sequence[View]) -> dict[str, AlikeView]:
    """Those of the other views that show the same as a view."""
    features = load_keypoints(database, view.name)
    of_others = [load_keypoints(database, other.name) for other in others]
    matched = zip(others, of_others, matcher.match_many(features, of_others), strict=True)
    references = [Reference.of_view(other, UNTAGGED, keypoints, found) for other, keypoints, found in matched]
    assert view.camera is not None
    pixels = features.keypoints.astype(np.float64)
    verified = verify(view.camera, pixels, references, SolvingConfig())
    sure = [one for one in verified if shows_its_place(len(one.matches), len(pixels))]
    return {one.reference.name: AlikeView(one.apart, one.query_from_view) for one in sure}


def shows_its_place(num_matches: int, num_keypoints: int) -> bool:
    """Whether so many of an image's keypoints show that it was taken near the view that they match."""
    return num_matches >= max(_LEAST_MATCHES, _LEAST_SHARE * num_keypoints)
