"""The first half of every build: the choice of frames as map images, their features and thumbnails."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.map_layout import thumbnail_name
from visloc_ros.core.progress import Progress, track
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import Frame, Image
from visloc_ros.features import GlobalDescriptor, LocalExtractor
from visloc_ros.localization.image_copies import ImageCopy
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.map_sources import MapCamera, MapSource, TimeSpan, check_shared_references, find_reference
from visloc_ros.mapping.parallel import count_workers, map_in_order
from visloc_ros.mapping.selection import select_frames
from visloc_ros.mapping.sfm_database import SfmImage

_log = logging.getLogger(__name__)
_LARGEST_WIDTH = 320  # poses by pictures of 160 are off by a third more
_QUALITY = 50  # to match as well as 85, in half the bytes


@dataclass(frozen=True, eq=False)
class MapFrame:
    """A chosen frame of the source with this label: stamp, name, camera, features, thumbnail (JPEG bytes).

    ``map_from_camera`` is its reference pose, if any. ``global_descriptor`` (G,) is there unless the descriptor has
    yet to be trained with the whole map. ``index`` is its number in the source.
    """

    source: str
    stamp_ns: int
    name: str
    camera: MapCamera
    features: LocalFeatures
    thumbnail: bytes
    map_from_camera: SE3 | None
    global_descriptor: NDArray[np.float32] | None = None
    index: int = 0

    @property
    def view(self) -> SfmImage:
        """The frame for structure from motion."""
        return SfmImage(self.name, self.features.keypoints, self.camera)


class AnyFrame(Protocol):
    """What a build takes from a frame once its features are found; they may lie in memory or elsewhere."""

    @property
    def source(self) -> str:
        """Label of its source."""

    @property
    def stamp_ns(self) -> int:
        """Its stamp."""

    @property
    def name(self) -> str:
        """Its name in the map."""

    @property
    def camera(self) -> MapCamera:
        """Its camera, one object for all frames of it."""

    @property
    def features(self) -> LocalFeatures:
        """Its features."""

    @property
    def thumbnail(self) -> bytes:
        """Its thumbnail, as JPEG."""

    @property
    def map_from_camera(self) -> SE3 | None:
        """Its reference pose, if any."""


class HasName(Protocol):
    """A frame or an image."""

    @property
    def name(self) -> str:
        """Its name."""


Named = TypeVar("Named", bound=HasName)


class FrameCollector:
    """Chooses frames and finds their features; descriptors are kept in half precision, as maps store them."""

    def __init__(
        self,
        extractor: LocalExtractor,
        describer: GlobalDescriptor | None,
        config: MappingConfig,
        progress: Progress,
        watch: Stopwatch,
    ) -> None:
        self._extractor = extractor
        self._describer = describer
        self._config = config
        self._progress = progress
        self._watch = watch

    def select(self, sources: Sequence[MapSource]) -> list[list[int]]:
        """Indices of the frames to map, for each source by itself. Raises ConfigError on references of another one."""
        spans = [TimeSpan() for _ in sources]
        with self._watch("select"):
            chosen = [self._select(source, span) for source, span in zip(sources, spans, strict=True)]
        check_shared_references(sources, spans)
        return chosen

    def extract(
        self, sources: Sequence[MapSource], chosen: Sequence[Sequence[int]], taken: Collection[str] = ()
    ) -> list[MapFrame]:
        """The chosen frames with their features, those of one source after those of another.

        Names are unique, also among those ``taken``. Frames that cannot be used are left out.
        """
        frames: list[MapFrame] = []
        names = set(taken)
        with self._watch("extract"):
            for source, indices in zip(sources, chosen, strict=True):
                found = with_unique_names(self._extract(source, indices), source.label, names)
                names.update(frame.name for frame in found)
                frames += found
        return frames

    def turned(self, sources: Sequence[MapSource], frames: Sequence[MapFrame], quarters: int) -> list[MapFrame]:
        """These frames of the sources with the features of their images turned counter-clockwise by quarter turns."""
        found = dict[tuple[str, int], MapFrame]()
        with self._watch("extract"):
            for source in sources:
                of_source = {frame.index: frame for frame in frames if frame.source == source.label}
                turn = partial(self._turn, of_source, ImageCopy(quarters))
                images, workers = numbered_frames_at(source, list(of_source)), count_workers(self._config.workers)
                found |= {(source.label, one.index): one for one in map_in_order(turn, images, workers)}
        return [found[frame.source, frame.index] for frame in frames]

    def _turn(self, frames: Mapping[int, MapFrame], copy: ImageCopy, numbered: tuple[int, Frame]) -> MapFrame:
        index, frame = numbered
        image = copy.of(frame.image, self._config.features.resize_max)
        found = self._extractor.extract(image)
        descriptor = self._describer.describe(image, found) if self._describer else None
        features = copy.features_as_given(found, frames[index].features.image_size).with_rays(frame.camera)
        return replace(frames[index], features=_halved(features), global_descriptor=descriptor)

    def _select(self, source: MapSource, span: TimeSpan) -> list[int]:
        num_frames = len(source.frames)
        frames = track(self._progress, "select", span.watch(source.frames), num_frames)
        chosen = select_frames(frames, num_frames, self._config.selection)
        _log.info("%d of %d frames of '%s' are chosen", len(chosen), num_frames, source.label)
        return chosen

    def _extract(self, source: MapSource, chosen: Sequence[int]) -> list[MapFrame]:
        workers = count_workers(self._config.workers)
        described = map_in_order(partial(self._describe, source), numbered_frames_at(source, chosen), workers)
        found = list(track(self._progress, "extract", described, len(chosen)))
        return [frame for frame in found if frame is not None]

    def _describe(self, source: MapSource, numbered: tuple[int, Frame]) -> MapFrame | None:
        index, frame = numbered
        name = frame.name or f"{frame.stamp_ns}.jpg"
        pose = find_reference(source, frame, name, self._config.frame.max_reference_gap_s)
        if source.references is not None and pose is None and self._config.reconstruction.reference == "fixed":
            _log.info("image '%s' is left out: the reference poses do not cover it", name)
            return None
        features = self._extractor.extract(frame.image).with_rays(frame.camera)
        if len(features) < self._config.reconstruction.min_matches:
            _log.info("image '%s' is left out: it shows only %d features", name, len(features))
            return None
        descriptor = self._describer.describe(frame.image, features) if self._describer else None
        camera = source.cameras.find(frame.camera, frame.calibration.focal_sigma if frame.calibration else 0.0)
        thumbnail = encode_thumbnail(frame.image)
        found = _halved(features)
        return MapFrame(source.label, frame.stamp_ns, name, camera, found, thumbnail, pose, descriptor, index)


def with_unique_names(frames: Sequence[Named], label: str, taken: Collection[str]) -> list[Named]:
    """Number the frames of a source that have no names; put its label, numbered if need be, before names in use."""
    if len({frame.name for frame in frames}) < len(frames):
        frames = [_named(frame, f"{index:06d}_{frame.name}") for index, frame in enumerate(frames)]
    prefixes = chain(("", f"{label}/"), (f"{label}-{number}/" for number in count(2)))
    prefix = next(prefix for prefix in prefixes if not any(prefix + frame.name in taken for frame in frames))
    return [_named(frame, prefix + frame.name) for frame in frames]


def _named(frame: Named, name: str) -> Named:
    return cast(Named, replace(cast(Any, frame), name=name))


def frames_at(source: MapSource, chosen: Sequence[int]) -> Iterator[Frame]:
    """The frames of a source at these indices."""
    return (frame for _, frame in numbered_frames_at(source, chosen))


def numbered_frames_at(source: MapSource, chosen: Sequence[int]) -> Iterator[tuple[int, Frame]]:
    """The same with their indices, in their order; no more of the source is read."""
    wanted = set(chosen)
    frames = enumerate(islice(source.frames, max(wanted, default=-1) + 1))
    return ((index, frame) for index, frame in frames if index in wanted)


def _halved(features: LocalFeatures) -> LocalFeatures:
    return replace(features, descriptors=features.descriptors.astype(np.float16))


def encode_thumbnail(image: Image) -> bytes:
    """Make a small JPEG of an image, (H, W) grey or (H, W, 3) RGB."""
    height, width = image.shape[:2]
    new_width = min(_LARGEST_WIDTH, width)
    size = (new_width, max(1, round(height * new_width / width)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    pixels = cv2.cvtColor(small, cv2.COLOR_RGB2BGR) if small.ndim == 3 else small
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(encoded)


def write_thumbnails(folder: Path, thumbnails: Mapping[str, bytes]) -> None:
    """Write thumbnails by image name, one file each; slashes of the names become double underscores."""
    folder.mkdir(exist_ok=True)
    for name, thumbnail in thumbnails.items():
        (folder / thumbnail_name(name)).write_bytes(thumbnail)
