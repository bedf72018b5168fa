"""Retrieval among millions of views: short codes in inverted lists (IVF-PQ, Jegou et al. 2011), and positions.

A search with a position compares the query with all views near it; one without finds a short list by the codes. Views
of both are compared by their stored descriptors, in half precision. Codes and descriptors are in files that are mapped
into memory as they are read. What stays in memory, for N views: 16 bytes a view of positions, about 60 of their tree,
and what the codes were learned to be, at most 4 MB and 1 kB for each number of a descriptor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from visloc_ros.core.atomic_write import atomic_folder
from visloc_ros.core.errors import GeoError
from visloc_ros.core.files import is_file
from visloc_ros.core.geometry import Array
from visloc_ros.core.wgs84 import earth_positions
from visloc_ros.localization.models import load_faiss

MOST_IN_PART = 1_000_000
"""Views after which a part is full: while it is written its codes, 72 bytes a view, are in memory."""

_LEARNED, _CODES, _DESCRIPTORS, _POSITIONS = "learned.faiss", "codes.faiss", "descriptors.f16", "positions.npy"
_PART = "part_{:04}"
_REDUCED = 256  # numbers of a descriptor that codes are made of, by principal components
_CODE_BYTES = 64
_LISTS_PER_ROOT, _MOST_LISTS = 4.0, 4096  # of the square root of the number of views, as faiss advises
_SAMPLES_PER_LIST = 40  # k-means: faiss warns below 39
_LEAST_VIEWS = 2 * 256 * _SAMPLES_PER_LIST  # 256 values of each byte of a code are learned, too
_PROBED_LISTS = 64
_SHORT_LIST = 400
_MOST_COMPARED = 4000  # views near a position; of more, codes choose
_MOST_LISTED = 30_000  # views near a position; more are left out one by one, of a longer short list


class Views(NamedTuple):
    """Some views: descriptors (n, D), unit rows, and latitudes and longitudes in degrees (n, 2)."""

    descriptors: NDArray[np.float32]
    positions: Array


class Near(NamedTuple):
    """A circle about a position in degrees."""

    latitude: float
    longitude: float
    radius_m: float

    @property
    def centre(self) -> Array:
        """On the earth (3,), in metres."""
        return np.asarray(earth_positions([[self.latitude, self.longitude]])[0])


class Found(NamedTuple):
    """Rows of views, the most similar first, and their similarities to the query, cosines."""

    rows: NDArray[np.int64]
    similarities: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Part:
    """Views that were added together, in files of their own."""

    codes: Any
    descriptors: NDArray[np.float16]
    positions: Array

    def by_codes(
        self, query: NDArray[np.float32], allowed: NDArray[np.int64] | None, count: int = _SHORT_LIST
    ) -> NDArray[np.int64]:
        """A short list of rows by their codes, of those allowed."""
        faiss, options = _faiss(), {}
        if allowed is not None:
            bits = np.zeros(len(self.positions), bool)
            bits[allowed] = True
            options["sel"] = faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
        parameters = faiss.SearchParametersIVF(nprobe=_PROBED_LISTS, **options)
        reduced = self.codes.chain.at(0).apply(np.ascontiguousarray(query[None], np.float32))
        _, found = faiss.extract_index_ivf(self.codes).search(reduced, count, params=parameters)
        return np.asarray(found[0][found[0] >= 0], np.int64)


@dataclass(frozen=True, eq=False)
class LargeViewIndex:
    """Views in the order in which they were added."""

    _parts: Sequence[_Part]

    @staticmethod
    def learn(folder: Path, sample: NDArray[np.float32], count: int) -> None:
        """Start an index in a new folder for about ``count`` views, of which there is a sample (n, D) of unit rows.

        Raises GeoError for too small a sample or descriptor, ModelError without faiss, OutputError.
        """
        faiss, length = _faiss(), sample.shape[1]
        if length < _CODE_BYTES:
            raise GeoError(f"an index takes descriptors of {_CODE_BYTES} numbers or more, not {length}: compare all")
        if len(sample) < _LEAST_VIEWS:
            raise GeoError(f"an index is learned from {_LEAST_VIEWS} views or more, not {len(sample)}: compare all")
        reduced = min(_REDUCED, length - length % _CODE_BYTES)
        num_lists = min(_MOST_LISTS, int(_LISTS_PER_ROOT * np.sqrt(count)), len(sample) // _SAMPLES_PER_LIST)
        quantizer, projection = faiss.IndexFlatL2(reduced), faiss.PCAMatrix(length, reduced)
        lists = faiss.IndexIVFPQ(quantizer, reduced, num_lists, _CODE_BYTES, 8)
        for learning in (lists.cp, lists.pq.cp):
            learning.niter, learning.max_points_per_centroid = 10, _SAMPLES_PER_LIST
        codes = faiss.IndexPreTransform(projection, lists)
        codes.train(np.ascontiguousarray(sample, np.float32))
        with atomic_folder(folder) as staged:
            faiss.write_index(codes, str(staged / _LEARNED))

    @staticmethod
    def add(folder: Path, views: Iterable[Views]) -> None:
        """Add views to the index in a folder, a part after the other; a part that is whole stays if a later one fails.

        Raises GeoError, ModelError, OutputError.
        """
        left = iter(views)
        for first in left:
            with atomic_folder(folder / _PART.format(len(_part_folders(folder)))) as staged:
                _write(_read_codes(folder / _LEARNED), chain([first], left), staged)

    @staticmethod
    def open(folder: Path) -> LargeViewIndex:
        """Open the index in a folder. Raises GeoError where it is missing, empty or broken, ModelError."""
        parts = [_open_part(one) for one in _part_folders(folder)]
        if not parts:
            raise GeoError(f"there is no index of views in {folder}")
        return LargeViewIndex(parts)

    def __len__(self) -> int:
        return sum(len(part.positions) for part in self._parts)

    @cached_property
    def positions(self) -> Array:
        """Latitudes and longitudes (N, 2) in degrees."""
        return np.concatenate([part.positions for part in self._parts])

    def search(self, query: NDArray[np.float32], count: int, near: Near | None = None) -> Found:
        """The views most similar to a unit vector (D,), within a circle if one is given."""
        num_close = len(self) if near is None else self._count_within(near)
        close = self._within(near) if near is not None and num_close <= _MOST_LISTED else None
        length = -(-_SHORT_LIST * len(self) // num_close) if num_close else 0
        found = []
        for first, part in zip(self._first_rows, self._parts, strict=True):
            rows = None if close is None else close[(close >= first) & (close < first + len(part.positions))] - first
            if rows is None:
                rows = part.by_codes(query, None, length)
                rows = rows if near is None else rows[_are_within(near, part.positions[rows])]
            elif len(rows) > _MOST_COMPARED:
                rows = part.by_codes(query, rows)
            rows = np.sort(rows)
            found.append(Found(rows + first, np.asarray(part.descriptors[rows], np.float32) @ query))
        rows, similarities = (np.concatenate(values) for values in zip(*found, strict=True))
        best = np.argsort(-similarities, kind="stable")[:count]
        return Found(rows[best], similarities[best])

    def _within(self, near: Near) -> NDArray[np.int64]:
        return np.asarray(self._tree.query_ball_point(near.centre, near.radius_m), np.int64)

    def _count_within(self, near: Near) -> int:
        return int(self._tree.query_ball_point(near.centre, near.radius_m, return_length=True))

    @cached_property
    def _first_rows(self) -> list[int]:
        return [0, *accumulate(len(part.positions) for part in self._parts)][:-1]

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(earth_positions(self.positions), balanced_tree=False, compact_nodes=False)


def _are_within(near: Near, positions: Array) -> NDArray[np.bool_]:
    return np.asarray(np.linalg.norm(earth_positions(positions) - near.centre, axis=1) <= near.radius_m)


def _faiss() -> Any:
    return load_faiss("the index of a large database")


def _part_folders(folder: Path) -> list[Path]:
    return sorted(one for one in folder.glob(_PART.replace("{:04}", "*")) if is_file(one / _POSITIONS))


def _write(codes: Any, views: Iterable[Views], folder: Path) -> None:
    """Write a part of some of the views, until it is large enough."""
    positions = []
    with (folder / _DESCRIPTORS).open("wb") as file:
        for some in views:
            codes.add(np.ascontiguousarray(some.descriptors, np.float32))
            file.write(np.ascontiguousarray(some.descriptors, np.float16).tobytes())
            positions.append(np.asarray(some.positions, np.float64))
            if codes.ntotal >= MOST_IN_PART:
                break
    _faiss().write_index(codes, str(folder / _CODES))
    np.save(folder / _POSITIONS, np.concatenate(positions))


def _read_codes(path: Path, *flags: int) -> Any:
    if not is_file(path):
        raise GeoError(f"the index of views lacks {path}: build it again")
    try:
        return _faiss().read_index(str(path), *flags)
    except RuntimeError as error:
        raise GeoError(f"{path} is broken: build the index again") from error


def _open_part(folder: Path) -> _Part:
    codes = _read_codes(folder / _CODES, _faiss().IO_FLAG_MMAP)
    try:
        positions = np.load(folder / _POSITIONS, allow_pickle=False)
        descriptors = np.memmap(folder / _DESCRIPTORS, np.float16, "r", shape=(codes.ntotal, codes.d))
    except (OSError, ValueError) as error:
        raise GeoError(f"the part {folder} of the index is broken: build the index again ({error})") from error
    if positions.shape != (codes.ntotal, 2):
        raise GeoError(f"the part {folder} of the index has codes and positions of different views: build it again")
    return _Part(codes, descriptors, positions)
