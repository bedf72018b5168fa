"""How often the points and images of a map are seen when they should be: a Beta distribution of each.

A point that exists is recognised in only a part of the images that show its place, depending on light, blur and view. A
miss therefore counts as much as the point was likely to be seen: by the share of all expected points that the same
image shows. Older counts fade, so that a map follows what changes (persistence of features: Rosen, Mason and Leonard,
ICRA 2016; Beta counts with forgetting: Biber and Duckett, RSS 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array
from visloc_ros.core.manifest import Manifest, file_info
from visloc_ros.core.map import Map, open_map

USE_NAME = "use.h5"

_FADING = 0.5
"""What remains of the counts of a point or image when another session has counts of it. What was seen for years and is
gone then leaves the map after some five sessions, not after as many as it was seen in."""
_MOST_TRIALS = 10.0
"""Of one point in one session: what stands before it hides it in all images of that session."""
_RARELY, _SURELY = 0.2, 0.9
"""Seen in less than this share of the views in which it should be, with this probability: it is gone. By the limit on
trials, no single session suffices."""


@dataclass(frozen=True, eq=False)
class UseCounts:
    """Counts (N,) of how often each of N things was seen, and of how often it was missed."""

    seen: Array
    missed: Array

    @staticmethod
    def none(count: int) -> UseCounts:
        """Nothing is known yet."""
        return UseCounts(np.zeros(count), np.zeros(count))

    def with_session(self, session: UseCounts) -> UseCounts:
        """The counts after another session; those of things that it says nothing of stay as they are."""
        trials = session.seen + session.missed
        weight = np.minimum(1.0, _MOST_TRIALS / np.maximum(trials, 1e-12))
        kept = np.where(trials > 0.0, _FADING, 1.0)
        return UseCounts(kept * self.seen + weight * session.seen, kept * self.missed + weight * session.missed)

    @property
    def presence(self) -> Array:
        """Expected share (N,) of the views in which each thing is seen, of those in which it should be."""
        return np.asarray((1.0 + self.seen) / (2.0 + self.seen + self.missed))

    @property
    def is_gone(self) -> NDArray[np.bool_]:
        """Which things (N,) are surely seen but rarely."""
        return np.asarray(betainc(1.0 + self.seen, 1.0 + self.missed, _RARELY) > _SURELY)

    def take(self, rows: NDArray[np.integer]) -> UseCounts:
        """Those at rows (K,); a row of -1 is a new thing, without counts."""
        known = rows >= 0
        return UseCounts(*(np.where(known, values[rows], 0.0) for values in (self._padded.seen, self._padded.missed)))

    @property
    def _padded(self) -> UseCounts:
        return UseCounts(np.append(self.seen, 0.0), np.append(self.missed, 0.0))


@dataclass(frozen=True, eq=False)
class MapUse:
    """Counts of a map's points (P) and images (M), and the row of the session that each image was taken in, (M,).

    Session 0 is what the map was built of or extended by, the others are the ``sessions`` of its manifest.
    """

    points: UseCounts
    images: UseCounts
    sessions: NDArray[np.int32]

    @staticmethod
    def new(points: int, images: int) -> MapUse:
        """That of a map that was never updated."""
        return MapUse(UseCounts.none(points), UseCounts.none(images), np.zeros(images, np.int32))

    def of(self, old: Map, new: Map, rows: NDArray[np.intp], session: int) -> MapUse:
        """That of what was made of the map ``old``, whose points are at ``rows`` of it; new images are of a session."""
        names = {image.name: row for row, image in enumerate(old.images)}
        images = np.array([names.get(image.name, -1) for image in new.images], np.intp)
        sessions = np.where(images >= 0, np.append(self.sessions, 0)[images], session).astype(np.int32)
        return MapUse(self.points.take(rows), self.images.take(images), sessions)

    def with_session(self, points: UseCounts, images: UseCounts) -> MapUse:
        """The use after another session, of these counts."""
        return MapUse(self.points.with_session(points), self.images.with_session(images), self.sessions)


_FIELDS = ("point_seen", "point_missed", "image_seen", "image_missed", "image_sessions")


def write_use(folder: Path, use: MapUse, manifest: Manifest) -> Manifest:
    """Write ``use.h5`` of a map, in the order of its points and images; gives the manifest with that file."""
    values: Sequence[NDArray[np.generic]] = (
        *(counts.astype(np.float32) for counts in (use.points.seen, use.points.missed)),
        *(counts.astype(np.float32) for counts in (use.images.seen, use.images.missed)),
        use.sessions,
    )
    path = folder / USE_NAME
    with h5py.File(path, "w") as file:
        for name, array in zip(_FIELDS, values, strict=True):
            file.create_dataset(name, data=array, compression="gzip", shuffle=True, track_times=False)
    return replace(manifest, files={**manifest.files, USE_NAME: file_info(path)})


def read_use(folder: Path, points: int, images: int) -> MapUse:
    """Read the use of a map of so many points and images; that of a new map where it has none. Raises MapError."""
    path = folder / USE_NAME
    if not path.exists():
        return MapUse.new(points, images)
    try:
        with h5py.File(path, "r") as file:
            point_seen, point_missed, image_seen, image_missed, sessions = (file[name][()] for name in _FIELDS)
    except (OSError, KeyError) as error:
        raise MapError(
            f"cannot read {path} ({error}): copy the map again, or delete the file to begin again"
        ) from error
    counts = [values.astype(np.float64) for values in (point_seen, point_missed, image_seen, image_missed)]
    lengths = [len(values) for values in (*counts, sessions)]
    if lengths != [points, points, images, images, images] or not all(np.isfinite(one).all() for one in counts):
        raise MapError(f"{path} does not fit the map beside it: copy the map again")
    return MapUse(UseCounts(*counts[:2]), UseCounts(*counts[2:]), sessions.astype(np.int32))


def carry_use(old_folder: Path, old: Map, folder: Path, manifest: Manifest) -> Manifest:
    """Write the use of what stays of a map into the folder of what it was extended to, if it was ever updated."""
    if not (old_folder / USE_NAME).exists():
        return manifest
    use, new = read_use(old_folder, len(old.points), len(old.images)), open_map(folder, checksums=False, whole=True)
    return write_use(folder, use.of(old, new, same_points(new.points, old.points), 0), manifest)


def same_points(points: Array, others: Array) -> NDArray[np.intp]:
    """For each point (P, 3) the row of the other one (Q, 3) at exactly the same place, or -1."""
    rows = {point.tobytes(): row for row, point in enumerate(np.ascontiguousarray(others))}
    return np.array([rows.get(point.tobytes(), -1) for point in np.ascontiguousarray(points)], np.intp)
