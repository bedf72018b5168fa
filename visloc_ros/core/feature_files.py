"""hloc's HDF5 files: local features and global descriptors, one group per image.

hloc puts the centre of the top-left pixel at (0, 0), COLMAP at (0.5, 0.5): keypoints are shifted here, and nowhere
else. Descriptors are stored (D, N) in half precision, as hloc does. Ours are rounded to a sixteenth of their spread
(for unit vectors of length 128: to 1/256), far below what distinguishes them; HDF5 then packs them to half the size.

Files are not trusted: a few bytes of HDF5 can declare an array of any size, which reads as its fill value; so the ratio
of the arrays' size to the file's size is bounded, and nothing is read from other files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import HALF_PIXEL, rays
from visloc_ros.core.errors import MapError
from visloc_ros.core.files import COPY_AGAIN, LARGEST_MODEL_BYTES, check_file

_LARGEST_HALF = float(np.finfo(np.float16).max)  # descriptors are kept in half precision
_MAX_DESCRIPTOR_LENGTH = 4096  # of a keypoint: 64 to 512 are usual
_STEPS_PER_SPREAD = 16.0
_LIBRARY_VERSIONS = ("v110", "v110")  # HDF5 1.10 (2016) and later read it; older layouts take 1 to 3 kB more an image
_MAX_KEYPOINT_SHIFT_PX = 2.0
_SCORE_NAMES = ("scores", "keypoint_scores")  # hloc calls them either way, by extractor
_QUARTERS = "quarters"  # hloc has none: its readers match such an image as if it were not turned
MAX_DIMENSION = 1 << 17
LARGEST_NUMBER = 1e6
_LARGEST_RATIO = 50  # of memory to file: descriptors of a map pack to a half, plain ones to a tenth
_FREE_BYTES = 16 << 20
_LARGEST_RATIO_OF_ONE = 1100  # zeros pack to a thousandth
_FREE_BYTES_OF_ONE = 64 << 10


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """Keypoints (N, 2) float32 in COLMAP pixels, scores (N,) float32, descriptors (N, D), image size (w, h).

    ``scales_angles`` (N, 2): size [px] and angle [rad] of keypoints, where the extractor gives them (SIFT).
    The descriptors are those of the image turned counter-clockwise by ``quarters`` of a turn.
    """

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    descriptors: NDArray[np.floating]
    image_size: tuple[int, int]
    scales_angles: NDArray[np.float32] | None = None
    quarters: int = 0

    def __len__(self) -> int:
        return len(self.keypoints)

    def with_rays(self, camera: pycolmap.Camera) -> LocalFeatures:
        """The features whose pixels have a ray: a fisheye sees beyond 90 degrees what COLMAP's models cannot place."""
        has_ray = np.isfinite(rays(camera, self.keypoints)).all(axis=1)
        return self if has_ray.all() else self.take(np.flatnonzero(has_ray))

    def take(self, rows: NDArray[np.integer]) -> LocalFeatures:
        """The features of these rows (K,), in this order."""
        scales_angles = None if self.scales_angles is None else self.scales_angles[rows]
        keypoints, scores, descriptors = self.keypoints[rows], self.scores[rows], self.descriptors[rows]
        return LocalFeatures(keypoints, scores, descriptors, self.image_size, scales_angles, self.quarters)

    @property
    def upright(self) -> LocalFeatures:
        """The features as they lie in the image that their descriptors are of."""
        return self.turned(self.quarters)

    def turned(self, quarters: int) -> LocalFeatures:
        """The features at their places in the image turned counter-clockwise by quarter turns."""
        quarters %= 4
        if quarters == 0:
            return self
        width, height = self.image_size
        x, y = self.keypoints.T
        places = {1: (y, width - x), 2: (width - x, height - y), 3: (height - y, x)}[quarters]
        scales_angles = self.scales_angles
        if scales_angles is not None:
            scales_angles = (scales_angles - [0.0, 0.5 * np.pi * quarters]).astype(np.float32)
        return replace(
            self,
            keypoints=np.column_stack(places).astype(np.float32),
            image_size=(width, height) if quarters == 2 else (height, width),
            scales_angles=scales_angles,
            quarters=(self.quarters - quarters) % 4,
        )


def write_local_features(path: Path, features: Mapping[str, LocalFeatures]) -> None:
    """Write the local features of images by name."""
    with created(path, libver=_LIBRARY_VERSIONS) as file:
        for name, one in features.items():
            group = file.create_group(name)
            group["keypoints"] = (one.keypoints - HALF_PIXEL).astype(np.float32)
            group["scores"] = one.scores.astype(np.float16)
            _write_packed(group, "descriptors", one.descriptors.T)
            group["image_size"] = np.array(one.image_size, dtype=np.int64)
            if one.quarters:
                group[_QUARTERS] = np.array([one.quarters], dtype=np.int64)
            if one.scales_angles is not None:
                group["scales"] = one.scales_angles[:, 0]
                group["oris"] = np.degrees(one.scales_angles[:, 1])


def read_local_features(path: Path, names: Sequence[str], sizes: Sequence[int]) -> list[LocalFeatures]:
    """Read the local features of images whose keypoint counts are known. Raises MapError naming the image.

    The arrays of all images are consecutive parts of large ones; descriptors stay in half precision.
    """
    features: list[LocalFeatures] = []
    block: _FeatureBlock | None = None
    with opened(path) as file:
        for name, size in zip(names, sizes, strict=True):
            one = _read_features(file, name, size)
            block = block or _FeatureBlock(sum(sizes), one.descriptors.shape[1])
            if one.descriptors.shape[1] != block.descriptors.shape[1]:
                raise MapError(f"{path} mixes descriptors of several lengths: rebuild the map")
            features.append(block.append(one))
    return features


def read_features_of(file: H5Reader, name: str, size: int) -> LocalFeatures:
    """Read the local features of an image, as ``read_local_features`` gives them. Raises MapError naming the image."""
    one = _read_features(file, name, size)
    return _FeatureBlock(size, one.descriptors.shape[1]).append(one)


def read_keypoints(path: Path, names: Sequence[str]) -> list[NDArray[np.float32] | None]:
    """Read keypoints (N, 2) in COLMAP pixels of images by name, None for those that the file lacks."""
    with opened(path) as file:
        return [_read_keypoints(file, name, None) if f"{name}/keypoints" in file else None for name in names]


def keypoints_agree(a: NDArray[np.floating], b: NDArray[np.floating]) -> bool:
    """Whether two lists of keypoints (N, 2) are the same, up to the half precision that hloc stores them with."""
    return len(a) == len(b) and (len(a) == 0 or bool(np.median(np.abs(a - b)) <= _MAX_KEYPOINT_SHIFT_PX))


def write_global_descriptors(path: Path, descriptors: Mapping[str, NDArray[np.floating]]) -> None:
    """Write one global descriptor (G,) per image."""
    with created(path, libver=_LIBRARY_VERSIONS) as file:
        for name, descriptor in descriptors.items():
            _write_packed(file.create_group(name), "global_descriptor", descriptor)


def read_global_descriptors(path: Path, names: Sequence[str]) -> NDArray[np.float32]:
    """Read global descriptors (M, G) of images in the order of their names. Raises MapError naming the image."""
    with opened(path) as file:
        rows = [file.read(f"{name}/global_descriptor", (None,)) for name in names]
    if len({len(row) for row in rows}) > 1:
        raise MapError(f"{path} mixes global descriptors of several lengths: rebuild the map")
    return np.stack(rows).astype(np.float32) if rows else np.empty((0, 0), np.float32)


def write_centroids(path: Path, centroids: NDArray[np.floating]) -> None:
    """Write the VLAD codebook (C, D)."""
    with created(path) as file:
        file["centroids"] = centroids.astype(np.float32)


def read_centroids(path: Path) -> NDArray[np.float32]:
    """Read the VLAD codebook (C, D). Raises MapError."""
    with opened(path) as file:
        return file.read("centroids", (None, None)).astype(np.float32)


def _write_packed(group: h5py.Group, name: str, values: NDArray[np.floating]) -> None:
    rounded = np.ascontiguousarray(round_to_spread(values), dtype=np.float16)
    # Half-precision numbers on a coarse grid repeat: byte by byte (shuffled) they pack well. Nothing cannot be packed.
    packing: dict[str, Any] = {"chunks": rounded.shape, "compression": "gzip", "shuffle": True} if rounded.size else {}
    group.create_dataset(name, data=rounded, **packing)


def round_to_spread(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Round descriptors to a power of two that is at most a sixteenth of their root mean square."""
    exact = np.asarray(values, dtype=np.float32)
    spread = float(np.sqrt(np.mean(np.square(exact)))) if exact.size else 0.0
    if not 0.0 < spread < np.inf:
        return exact
    step = np.float32(2.0 ** np.floor(np.log2(spread / _STEPS_PER_SPREAD)))
    return np.asarray(np.round(exact / step) * step)


class _FeatureBlock:
    """Room for the features of many images, filled one after the other."""

    def __init__(self, num_keypoints: int, dim: int) -> None:
        self.keypoints = np.empty((num_keypoints, 2), np.float32)
        self.scores = np.empty(num_keypoints, np.float32)
        self.descriptors = np.empty((num_keypoints, dim), np.float16)
        self._filled = 0

    def append(self, one: LocalFeatures) -> LocalFeatures:
        """Copy the features of an image to the end; gives them as parts of the block."""
        rows = slice(self._filled, self._filled + len(one))
        self._filled = rows.stop
        keypoints, scores, descriptors = self.keypoints[rows], self.scores[rows], self.descriptors[rows]
        keypoints[:], scores[:], descriptors[:] = one.keypoints, one.scores, one.descriptors
        return replace(one, keypoints=keypoints, scores=scores, descriptors=descriptors)


def _read_features(file: H5Reader, name: str, size: int) -> LocalFeatures:
    keypoints = _read_keypoints(file, name, size)
    descriptors = file.read(f"{name}/descriptors", (None, size), _MAX_DESCRIPTOR_LENGTH, _LARGEST_HALF)
    stored = next((key for key in _SCORE_NAMES if f"{name}/{key}" in file), None)
    scores = file.read(f"{name}/{stored}", (size,)) if stored else np.ones(size)
    width, height = file.read(f"{name}/image_size", (2,))
    quarters = file.read(f"{name}/{_QUARTERS}", (1,))[0] if f"{name}/{_QUARTERS}" in file else 0
    return LocalFeatures(
        keypoints,
        scores.astype(np.float32),
        descriptors.T,
        (int(width), int(height)),
        _read_scales_angles(file, name, size),
        int(quarters) % 4,
    )


def _read_scales_angles(file: H5Reader, name: str, size: int) -> NDArray[np.float32] | None:
    if f"{name}/scales" not in file or f"{name}/oris" not in file:
        return None
    scales, degrees = (file.read(f"{name}/{key}", (size,)) for key in ("scales", "oris"))
    return np.column_stack((scales, np.radians(degrees))).astype(np.float32)


def _read_keypoints(file: H5Reader, name: str, size: int | None) -> NDArray[np.float32]:
    return file.read(f"{name}/keypoints", (size, 2)).astype(np.float32) + np.float32(HALF_PIXEL)


# New HDF5 files, through a file that takes everything: where a write fails in HDF5 itself, the process crashes. (A
# file that cannot be flushed stays open in the library, which tries once more when the process ends.)


@contextmanager
def created(path: Path, **options: Any) -> Iterator[h5py.File]:
    """Give a new file to write into. Raises OSError where it could not be written, when the block ends."""
    with _PatientFile(path, "w+b") as file:
        try:
            with h5py.File(file, "w", **options) as h5:
                yield h5
        finally:
            if file.failure is not None:
                raise OSError(file.failure.errno, file.failure.strerror, str(path))


class _PatientFile(io.FileIO):
    """A file that forgets what it cannot write, and everything after it; ``failure`` is the first one."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of it, or seem to."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while self.failure is None and left:
                left = left[super().write(left) :]
        except OSError as error:
            self.failure = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the length, or seem to."""
        try:
            if self.failure is None:
                return super().truncate(size)
        except OSError as error:
            self.failure = error
        return size or 0


class H5Reader:
    """An open file; ``path`` is for its messages. Raises MapError for anything unexpected."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self._file = path, file
        self._left_bytes = _FREE_BYTES + _LARGEST_RATIO * file.id.get_filesize()

    def __contains__(self, key: str) -> bool:
        return key in self._file

    def read(
        self, key: str, shape: tuple[int | None, ...], at_most: int = MAX_DIMENSION, largest: float = LARGEST_NUMBER
    ) -> NDArray[Any]:
        """A data set of numbers up to ``largest``; a side of ``shape`` that is None is of any length to ``at_most``."""
        dataset = self._dataset(key)
        self._check_shape(key, dataset, shape, at_most)
        self._left_bytes -= dataset.nbytes
        stored_bytes = dataset.id.get_storage_size()
        if self._left_bytes < 0 or dataset.nbytes > _FREE_BYTES_OF_ONE + _LARGEST_RATIO_OF_ONE * stored_bytes:
            raise MapError(f"{self.path} unpacks to more than a map can hold at '{key}': do not trust this map")
        try:
            values: NDArray[Any] = dataset[()]
        except (OSError, MemoryError) as error:
            raise MapError(f"{self.path} is truncated or broken at '{key}'{COPY_AGAIN}") from error
        bound = min(largest, float(np.finfo(values.dtype).max)) if values.dtype.kind == "f" else largest
        if not np.all((values >= -bound) & (values <= bound)):
            raise MapError(f"{self.path}: '{key}' holds values that are not finite, or absurd: rebuild the map")
        return values

    def mapped(self, key: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        """A matrix of numbers that lie one after the other in the file, mapped into memory as they are read."""
        dataset = self._dataset(key)
        self._check_shape(key, dataset, (None, None), 1 << 31)
        offset = dataset.id.get_offset()
        if not dataset.size:
            return np.empty(dataset.shape, dtype)
        if dataset.dtype != dtype or offset is None or offset + dataset.nbytes > self._file.id.get_filesize():
            raise MapError(f"{self.path}: '{key}' cannot be mapped into memory{COPY_AGAIN}")
        return np.memmap(self.path, dtype, "r", offset, dataset.shape)

    def _dataset(self, key: str) -> h5py.Dataset:
        try:
            dataset = self._file.get(key)
        except (OSError, RuntimeError) as error:
            raise MapError(f"{self.path} is truncated or broken at '{key}'{COPY_AGAIN}") from error
        if not isinstance(dataset, h5py.Dataset):
            raise MapError(f"{self.path} lacks '{key}'{self._near_match(key)}")
        # A map is self-contained: links and virtual or external storage could make it read other files.
        if dataset.file.filename != self._file.filename or dataset.is_virtual or dataset.external:
            raise MapError(f"{self.path}: '{key}' refers to another file: do not trust this map")
        return dataset

    def _near_match(self, key: str) -> str:
        """What to do about a missing key; one that differs only in its leading folders is named."""
        parts = key.split("/")
        shorter = ("/".join(parts[first:]) for first in range(1, len(parts) - 1))
        found = next((name for name in shorter if name in self._file), None)
        with suppress(RuntimeError):  # a damaged file cannot be searched through
            found = found or self._file.visit(lambda name: name if str(name).endswith(f"/{key}") else None)
        if found is None:
            return ": it does not belong to this COLMAP model, rebuild the map"
        return f", but has '{found}': extract the features with the image folder that the COLMAP model's names start in"

    def _check_shape(self, key: str, dataset: h5py.Dataset, shape: tuple[int | None, ...], at_most: int) -> None:
        actual = dataset.shape
        fits = (
            actual is not None
            and len(actual) == len(shape)
            and all(
                side == wanted if wanted is not None else side <= at_most
                for side, wanted in zip(actual, shape, strict=True)
            )
        )
        if not fits or dataset.dtype.kind not in "fiu":
            wanted_text = "x".join("any" if side is None else str(side) for side in shape)
            raise MapError(
                f"{self.path}: '{key}' is {dataset.dtype} {actual}, expected numbers {wanted_text} as in the COLMAP "
                "model: the files do not belong together, rebuild the map"
            )


@contextmanager
def opened(path: Path) -> Iterator[H5Reader]:
    """Open a file to read. Raises MapError."""
    with open_file(path) as file:
        yield H5Reader(path, file)


def open_file(path: Path) -> h5py.File:
    """Open a file to read, until it is closed. Raises MapError."""
    check_file(path, MapError, LARGEST_MODEL_BYTES, COPY_AGAIN)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise MapError(f"{path} is truncated or broken ({error}){COPY_AGAIN}") from error
