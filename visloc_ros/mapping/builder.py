"""From a source of frames to a map folder: the story of map building, told in one method."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import LocalFeatures, Manifest
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER
from visloc_ros.core.map_writer import check_output, staged_folder, write_map
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Frame, Image
from visloc_ros.features import LocalExtractor, Matcher, Vlad, make_extractor, make_matcher
from visloc_ros.mapping.card import write_card
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.matching import PairMatches, match_pairs
from visloc_ros.mapping.pairs import Pair, merge_pairs, retrieval_pairs, sequential_pairs, view_pairs
from visloc_ros.mapping.parallel import PerThread, count_workers, map_in_order
from visloc_ros.mapping.placement import Placement, check_frame_config, place
from visloc_ros.mapping.progress import Progress, SilentProgress, track
from visloc_ros.mapping.reconstruction import View, reconstruct, triangulate_at_known_poses
from visloc_ros.mapping.selection import select_frames
from visloc_ros.mapping.summary import MapSummary, summarize
from visloc_ros.sources import FrameSource

_log = logging.getLogger(__name__)

_THUMBNAIL_WIDTH = 160
_THUMBNAIL_QUALITY = 80


@dataclass(frozen=True, eq=False)
class MapFrame:
    """A chosen frame: name, features, thumbnail (JPEG bytes) and, where known, its reference pose."""

    name: str
    features: LocalFeatures
    thumbnail: bytes
    map_from_camera: SE3 | None


def build_map(
    source: FrameSource,
    output: Path,
    config: MappingConfig | None = None,
    *,
    reference_poses: Trajectory | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MapSummary:
    """Build a map from frames and write it to the folder ``output``.

    ``reference_poses`` are ``map_from_camera`` in metres; frames outside their time are left out where points are
    triangulated at them. Whatever ends the build early (an error, Ctrl-C) leaves nothing behind and an old map
    untouched. Raises OutputError when ``output`` is taken or not writable, ConfigError on contradicting options,
    MapError when no map can be made of the frames.
    """
    config = config or MappingConfig()
    check_output(output, overwrite=overwrite)
    check_frame_config(config.frame, reference_poses is not None)
    builder = MapBuilder(config, progress or SilentProgress())
    with staged_folder(output, overwrite=overwrite) as folder:
        return builder.build(source, folder, output.resolve().name, reference_poses)


class MapBuilder:
    """Holds the models and the options of a build."""

    def __init__(self, config: MappingConfig, progress: Progress) -> None:
        self._config = config
        self._progress = progress
        self._watch = Stopwatch()
        self._workers = count_workers(config.workers)
        # Threads of a network's own would only get in the way of the workers.
        features = replace(config.features, torch_threads=config.features.torch_threads or 1)
        self._extractor: LocalExtractor = make_extractor(features)
        self._matcher: PerThread[Matcher] = PerThread(lambda: make_matcher(config.matcher, config.features.name))

    def build(self, source: FrameSource, folder: Path, name: str, reference_poses: Trajectory | None) -> MapSummary:
        """Make a map of the source's frames in an existing folder."""
        chosen = self._select(source)
        frames = self._extract(source, chosen, reference_poses)
        vlad, descriptors = self._describe(frames)
        pairs = self._choose_pairs(frames, descriptors)
        matches = self._match(frames, pairs)
        reconstruction = self._reconstruct(source, frames, matches)
        placement = self._place(reconstruction, frames, reference_poses)
        manifest = self._describe_map(name, source, placement, vlad)
        manifest = self._save(folder, manifest, frames, reconstruction, vlad, descriptors)
        summary = summarize(manifest, len(chosen), reconstruction, self._seconds())
        write_card(folder, manifest, summary)
        return summary

    def _select(self, source: FrameSource) -> list[int]:
        with self._watch("select"):
            frames = track(self._progress, "select", source, len(source))
            chosen = select_frames(frames, len(source), self._config.selection)
        _log.info("%d of %d frames are chosen", len(chosen), len(source))
        return chosen

    def _extract(
        self, source: FrameSource, chosen: Sequence[int], reference_poses: Trajectory | None
    ) -> list[MapFrame]:
        describe = partial(self._describe_frame, camera=source.camera, reference_poses=reference_poses)
        with self._watch("extract"):
            described = map_in_order(describe, _frames_at(source, chosen), self._workers)
            found = list(track(self._progress, "extract", described, len(chosen)))
        frames = [frame for frame in found if frame is not None]
        if len(frames) < 2:
            raise MapError(
                f"{len(frames)} usable frames are too few for a map: the camera must move and see some texture, and "
                "reference poses must cover the images' stamps"
            )
        return _with_unique_names(frames)

    def _describe_frame(
        self, frame: Frame, camera: pycolmap.Camera, reference_poses: Trajectory | None
    ) -> MapFrame | None:
        name = frame.name or f"{frame.stamp_ns}.jpg"
        check_same_camera(name, frame.camera, camera)
        pose = pose_at(reference_poses, frame.stamp_ns, self._config.frame.max_reference_gap_s)
        if reference_poses is not None and pose is None and self._config.reconstruction.reference == "fixed":
            _log.info("image '%s' is left out: the reference poses do not cover it", name)
            return None
        features = self._extractor.extract(frame.image)
        if len(features) < self._config.reconstruction.min_matches:
            _log.info("image '%s' is left out: it shows only %d features", name, len(features))
            return None
        return MapFrame(name, features, encode_thumbnail(frame.image), pose)

    def _describe(self, frames: Sequence[MapFrame]) -> tuple[Vlad, NDArray[np.float32]]:
        with self._watch("describe"):
            vlad = Vlad.train([frame.features.descriptors for frame in frames], self._config.vlad)
            tracked = track(self._progress, "describe", frames, len(frames))
            return vlad, np.stack([vlad.describe(frame.features) for frame in tracked])

    def _choose_pairs(self, frames: Sequence[MapFrame], descriptors: NDArray[np.float32]) -> list[Pair]:
        config = self._config.pairs
        neighbours = sequential_pairs(len(frames), config.window)
        poses = [frame.map_from_camera for frame in frames if frame.map_from_camera is not None]
        if len(poses) == len(frames):
            further = view_pairs(poses, config.retrieval, config.max_view_angle_deg, exclude=neighbours)
        else:
            further = retrieval_pairs(descriptors, config.retrieval, exclude=neighbours)
        return merge_pairs(neighbours, further)

    def _match(self, frames: Sequence[MapFrame], pairs: Sequence[Pair]) -> PairMatches:
        with self._watch("match"):
            features = [frame.features for frame in frames]
            return match_pairs(self._matcher, features, pairs, self._progress, self._workers)

    def _reconstruct(
        self, source: FrameSource, frames: Sequence[MapFrame], matches: PairMatches
    ) -> pycolmap.Reconstruction:
        config = self._config.reconstruction
        views = [View(frame.name, frame.features.keypoints) for frame in frames]
        poses = [frame.map_from_camera for frame in frames if frame.map_from_camera is not None]
        self._progress.stage("reconstruct", len(frames))
        with self._watch("reconstruct"):
            if len(poses) == len(frames) and config.reference == "fixed":
                reconstruction = triangulate_at_known_poses(views, poses, source.camera, matches, config)
                self._progress.advance(len(frames))
                return reconstruction
            return reconstruct(
                views,
                source.camera,
                matches,
                config,
                calibrated=source.calibrated,
                on_image=self._progress.advance,
            )

    def _place(
        self, reconstruction: pycolmap.Reconstruction, frames: Sequence[MapFrame], reference_poses: Trajectory | None
    ) -> Placement:
        known = {frame.name: frame.map_from_camera for frame in frames if frame.map_from_camera is not None}
        references = None if reference_poses is None else known
        fixed = self._config.reconstruction.reference == "fixed"
        return place(reconstruction, references, self._config.frame, at_references=fixed)

    def _describe_map(self, name: str, source: FrameSource, placement: Placement, vlad: Vlad) -> Manifest:
        models = {"extractor": self._extractor.info, "matcher": self._matcher.first.info, "global": vlad.info}
        return Manifest(name, source.name, models, config=self._config.to_mapping(), **asdict(placement))

    def _save(
        self,
        folder: Path,
        manifest: Manifest,
        frames: Sequence[MapFrame],
        reconstruction: pycolmap.Reconstruction,
        vlad: Vlad,
        descriptors: NDArray[np.float32],
    ) -> Manifest:
        with self._watch("save"):
            write_thumbnails(folder / THUMBNAIL_FOLDER, frames)
            features = {frame.name: frame.features for frame in frames}
            by_name = {frame.name: descriptor for frame, descriptor in zip(frames, descriptors, strict=True)}
            return write_map(folder, reconstruction, features, by_name, vlad.centroids, manifest)

    def _seconds(self) -> dict[str, float]:
        return {stage: milliseconds / 1e3 for stage, milliseconds in self._watch.stage_ms.items()}


def pose_at(trajectory: Trajectory | None, stamp_ns: int, max_gap_s: float) -> SE3 | None:
    """Reference pose at a stamp, interpolated between poses at most ``max_gap_s`` apart; None where there is none."""
    if trajectory is None:
        return None
    exact = trajectory.nearest(stamp_ns, 0)
    if exact is not None:
        return exact
    right = int(np.searchsorted(trajectory.stamps_ns, stamp_ns))
    if not 0 < right < len(trajectory):
        return None
    gap_ns = int(trajectory.stamps_ns[right] - trajectory.stamps_ns[right - 1])
    return trajectory.interpolate(stamp_ns) if gap_ns <= max_gap_s * NANOSECONDS else None


def check_same_camera(name: str, camera: pycolmap.Camera, expected: pycolmap.Camera) -> None:
    """Refuse an image of another camera than the map's. Raises MapError."""
    same = (camera.model, camera.width, camera.height) == (expected.model, expected.width, expected.height)
    if not same or not np.allclose(camera.params, expected.params):
        raise MapError(f"image '{name}' is of another camera than the images before it: build a map from one camera")


def encode_thumbnail(image: Image) -> bytes:
    """Make a small JPEG of an image, (H, W) grey or (H, W, 3) RGB."""
    height, width = image.shape[:2]
    size = (_THUMBNAIL_WIDTH, max(1, round(height * _THUMBNAIL_WIDTH / width)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    pixels = cv2.cvtColor(small, cv2.COLOR_RGB2BGR) if small.ndim == 3 else small
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _THUMBNAIL_QUALITY])
    return bytes(encoded)


def write_thumbnails(folder: Path, frames: Sequence[MapFrame]) -> None:
    """Write the thumbnails, one file per image; slashes of image names become double underscores."""
    folder.mkdir()
    for frame in frames:
        (folder / thumbnail_name(frame.name)).write_bytes(frame.thumbnail)


def thumbnail_name(image_name: str) -> str:
    """File name of an image's thumbnail."""
    return f"{image_name.replace('/', '__').rpartition('.')[0] or image_name}.jpg"


def _frames_at(source: FrameSource, chosen: Sequence[int]) -> Iterator[Frame]:
    wanted = set(chosen)
    return (frame for index, frame in enumerate(source) if index in wanted)


def _with_unique_names(frames: Sequence[MapFrame]) -> list[MapFrame]:
    names = [frame.name for frame in frames]
    if len(set(names)) == len(names):
        return list(frames)
    return [replace(frame, name=f"{index:06d}_{frame.name}") for index, frame in enumerate(frames)]
