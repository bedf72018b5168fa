"""Updates a map by a recording made in it: what is gone leaves it, what is new joins it, the rest does not move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from visloc_ros.core.atomic_write import restore
from visloc_ros.core.errors import MapError
from visloc_ros.core.files import exists
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import GROWTH
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.map_archive import packed_in
from visloc_ros.core.map_lock import changing
from visloc_ros.core.map_versions import changed_folder
from visloc_ros.core.map_writer import check_output
from visloc_ros.core.progress import Progress, SilentProgress, track
from visloc_ros.core.tangent import pose_difference
from visloc_ros.localization.anchor import AnchorEngine
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.view_change import view_change
from visloc_ros.mapping.collection import MapFrame, frames_at
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.extension import Added, MapExtender
from visloc_ros.mapping.map_models import choose_config
from visloc_ros.mapping.map_sources import MapSource, label_sources
from visloc_ros.mapping.sfm_database import registered_poses
from visloc_ros.mapping.update.observation import UseObserver
from visloc_ros.mapping.update.report import UpdateRefusedError, UpdateReport
from visloc_ros.mapping.update.teaching import Lesson, TaughtImage, Teacher
from visloc_ros.mapping.update.thinning import Kept, dispensable, thin
from visloc_ros.mapping.update.use import MapUse, read_use, same_points
from visloc_ros.mapping.update.writing import Change, write_version
from visloc_ros.sources import FrameSource

_MOST_ADDED = 0.2  # of the images that it was built of, in one session: what changed more is to be mapped again
_UNCOVERED = 0.05  # of an image that shows none of the map's points, less than a cell of the grid: it may add these
_LEAST_VIEW_CHANGE = 0.15  # radians between added images: points need views from different directions
_LEAST_NEW_POINTS = 15  # of an added image: with fewer of its own, no search would find by it what is new
_CONTRADICTION = 22.5  # squared Mahalanobis distance of a pose, exceeded by one of a thousand (chi-square, 6)


def update_map(
    path: Path,
    source: FrameSource,
    config: MappingConfig | None = None,
    *,
    content: str = "",
    progress: Progress | None = None,
) -> UpdateReport:
    """Update a map's folder by a recording: what is gone leaves it, what is new joins it, the rest does not move.

    ``content`` identifies the recording (``sources/content.py``), if it is known: one recording teaches a map once.
    The map is replaced once the new version is whole; the former one stays beside it (``core/map_versions.py``).
    Raises UpdateRefusedError, and changes nothing, where the recording has taught the map already, is not surely of
    this place or was taken with a wrong calibration; MapError for an archive, a reduced map or models that are not at
    hand; OutputError.
    """
    path = Path(path)
    restore(path)
    if not exists(path):
        raise MapError(f"there is no map at {path}: build one with 'visloc build-map'")
    if packed_in(path) != path or not path.is_dir():
        raise MapError(f"{path} is no folder of a map: an update keeps earlier versions beside it, so unpack it first")
    check_output(path, overwrite=True, keeps_versions=True)
    with changing(path):
        map_ = open_map(path, whole=True)
        if content and content in (session.get("recording") for session in map_.manifest.sessions):
            words = f"'{source.name}' has taught {path} already, once is enough: take another recording"
            raise UpdateRefusedError(words)
        return _Update(path, map_, choose_config(map_, config), progress or SilentProgress()).run(source, content)


class _Update:
    """One update of one map."""

    def __init__(self, path: Path, map_: Map, config: MappingConfig, progress: Progress) -> None:
        self._path, self._map, self._config, self._progress = path, map_, config, progress
        self._use = read_use(path, len(map_.points), len(map_.images))
        self._built_images = map_.manifest.built_images
        self._extender = MapExtender(map_, config, progress)

    def run(self, recording: FrameSource, content: str) -> UpdateReport:
        """Learn from a recording, and write the next version of the map. Raises UpdateRefusedError."""
        [source] = label_sources(recording, taken=[one["name"] for one in self._map.manifest.sessions])
        [chosen] = self._extender.select([source])
        lesson, use = self._learn(source, chosen)
        lesson.check(self._map.name)
        wanted = self._wanted(lesson.taught)
        frames = self._extender.extract([source], [[chosen[image.index] for image in wanted]])
        extender, change = self._change(source, lesson, use, frames)
        with changed_folder(self._path, self._map.manifest, self._path, overwrite=True) as folder:
            return write_version(folder, extender, change, self._path, content)

    def _learn(self, source: MapSource, chosen: Sequence[int]) -> tuple[Lesson, MapUse]:
        """Locate the chosen frames; gives which of them teach, and the use of the map with this session's."""
        config = AnchorConfig(features=self._config.features, matcher=self._config.matcher)
        observer = UseObserver(self._map, config)
        engine = AnchorEngine(self._map, config, self._extender.extractor, most_turns=1)
        teacher = Teacher(engine, observer, self._config.reconstruction.max_reprojection_error_px)
        frames = track(self._progress, "learn", frames_at(source, chosen), len(chosen))
        return teacher.locate(frames), self._use.with_session(observer.points, observer.images)

    def _wanted(self, taught: Sequence[TaughtImage]) -> list[TaughtImage]:
        """Images that show what the map does not, from different views; of too many, those that show most of it."""
        chosen: list[TaughtImage] = []
        for image in sorted(taught, key=lambda one: -one.uncovered):
            if image.uncovered < _UNCOVERED or len(chosen) >= _MOST_ADDED * self._built_images:
                break
            changes = (view_change(image.map_from_camera, image.depth, other.map_from_camera) for other in chosen)
            if min(changes, default=np.inf) >= _LEAST_VIEW_CHANGE:
                chosen.append(image)
        return sorted(chosen, key=lambda one: one.index)

    def _change(
        self, source: MapSource, lesson: Lesson, use: MapUse, frames: Sequence[MapFrame], left_out: Sequence[str] = ()
    ) -> tuple[MapExtender, Change]:
        """The change of the map by those of the frames that agree with it and show something new, and what made it."""
        gone = thin(self._map, use.points.is_gone, use.images.is_gone)
        kept = self._with_room(gone, use, len(frames))
        extender = self._extender.of(kept.map)
        added = extender.add(frames)
        wrong, useless = _contradicting(added, lesson, frames), _without_new_points(added, kept.map, frames)
        if not wrong and not useless:
            added = replace(added, left_out=[*added.left_out, *left_out])
            return extender, Change(self._map, source, lesson, use, gone, kept, frames, added)
        remaining = [frame for frame in frames if frame.name not in wrong | useless]
        return self._change(source, lesson, use, remaining, [*left_out, *wrong])

    def _with_room(self, gone: Kept, use: MapUse, new: int) -> Kept:
        """The map without images that it can do without, so that it does not grow beyond its limit."""
        excess = len(gone.images) + new - int(GROWTH * self._built_images)
        if excess <= 0:
            return gone
        presence = use.points.take(gone.points).presence
        left_out = dispensable([image.point_rows for image in gone.map.images], presence, excess)
        return thin(gone.map, np.zeros(len(gone.points), bool), left_out).of(gone)


def _contradicting(added: Added, lesson: Lesson, frames: Sequence[MapFrame]) -> set[str]:
    """Names of the frames whose registered poses contradict those by which they taught."""
    taught, poses = {image.stamp_ns: image for image in lesson.taught}, registered_poses(added.reconstruction)
    registered = [frame for frame in frames if frame.name in poses]
    return {frame.name for frame in registered if not _agrees(poses[frame.name], taught[frame.stamp_ns])}


def _without_new_points(added: Added, map_: Map, frames: Sequence[MapFrame]) -> set[str]:
    """Names of the registered frames that show hardly any point beside the map's."""
    names = {image_id: image.name for image_id, image in added.reconstruction.images.items()}
    points = list(added.reconstruction.points3D.values())
    is_new = same_points(np.array([point.xyz for point in points]), map_.points) < 0
    tracks = (point.track for point, new in zip(points, is_new, strict=True) if new)
    counts = Counter(names[element.image_id] for track in tracks for element in track.elements)
    return {frame.name for frame in frames if counts[frame.name] < _LEAST_NEW_POINTS} & set(names.values())


def _agrees(map_from_camera: SE3, taught: TaughtImage) -> bool:
    error = pose_difference(map_from_camera, taught.map_from_camera)
    return float(error @ np.linalg.solve(taught.covariance, error)) <= _CONTRADICTION
