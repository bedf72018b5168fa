"""Updates a map by a recording made in it: what is gone leaves it, what is new joins it, the rest does not move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.manifest import Manifest, file_info
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.map_archive import packed_in
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER
from visloc_ros.core.map_preparation import put_section
from visloc_ros.core.map_versions import keep_versions, next_version
from visloc_ros.core.map_writer import check_output, staged_folder
from visloc_ros.core.progress import Progress, SilentProgress, track
from visloc_ros.core.tangent import pose_difference
from visloc_ros.localization.anchor import AnchorEngine
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.view_change import view_change
from visloc_ros.mapping.camera_knowledge import assess_cameras
from visloc_ros.mapping.card import write_card
from visloc_ros.mapping.collection import MapFrame, frames_at, write_thumbnails
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.extension import Added, MapExtender
from visloc_ros.mapping.map_models import choose_config
from visloc_ros.mapping.map_sources import MapSource, label_sources
from visloc_ros.mapping.sfm_database import registered_poses
from visloc_ros.mapping.summary import ImageCount, summarize
from visloc_ros.mapping.update.observation import UseObserver
from visloc_ros.mapping.update.report import ChangedPoints, UpdateReport, changes_section
from visloc_ros.mapping.update.teaching import Lesson, TaughtImage, Teacher
from visloc_ros.mapping.update.thinning import Kept, dispensable, thin
from visloc_ros.mapping.update.use import USE_NAME, MapUse, read_use, write_use
from visloc_ros.mapping.validation import validate_map
from visloc_ros.sources import FrameSource

_GROWTH = 1.15
"""Of the number of images that the map was built of: beyond, new ones replace those that it can best do without."""
_MOST_ADDED = 0.2  # of the same number, in one session: what changed more is to be mapped again
_UNCOVERED = 0.05  # of an image that shows none of the map's points, less than a cell of the grid: it may add these
_LEAST_VIEW_CHANGE = 0.15  # radians between added images: points need views from different directions
_CONTRADICTION = 22.5  # squared Mahalanobis distance of a pose, exceeded by one of a thousand (chi-square, 6)


def update_map(
    path: Path, source: FrameSource, config: MappingConfig | None = None, *, progress: Progress | None = None
) -> UpdateReport:
    """Update a map's folder by a recording: what is gone leaves it, what is new joins it, the rest does not move.

    The map is replaced once the new version is whole; the former one stays beside it (``core/map_versions.py``).
    Raises UpdateRefused, and changes nothing, where the recording is not surely of this place or was taken with a wrong
    calibration; MapError for an archive, a reduced map or models that are not at hand; OutputError.
    """
    path = Path(path)
    if packed_in(path) != path or not path.is_dir():
        raise MapError(f"{path} is no folder of a map: an update keeps earlier versions beside it, so unpack it first")
    check_output(path, overwrite=True)
    map_ = open_map(path, whole=True)
    return _Update(path, map_, choose_config(map_, config), progress or SilentProgress()).run(source)


class _Update:
    """One update of one map."""

    def __init__(self, path: Path, map_: Map, config: MappingConfig, progress: Progress) -> None:
        self._path, self._map, self._config, self._progress = path, map_, config, progress
        use, sessions = read_use(path, len(map_.points), len(map_.images)), map_.manifest.sessions
        self._use = use
        self._built_images = int(sessions[0]["built_images"]) if sessions else len(map_.images)
        self._extender = MapExtender(map_, config, progress)

    def run(self, recording: FrameSource) -> UpdateReport:
        """Learn from a recording, and write the next version of the map. Raises UpdateRefused."""
        [source] = label_sources(recording, taken=[one["name"] for one in self._map.manifest.sessions])
        [chosen] = self._extender.select([source])
        lesson, use = self._learn(source, chosen)
        lesson.check(self._map.name)
        wanted = self._wanted(lesson.taught)
        gone = thin(self._map, use.points.is_gone, use.images.is_gone)
        kept = self._with_room(gone, use, len(wanted))
        extender = MapExtender(kept.map, self._config, self._progress)
        frames = extender.extract([source], [[chosen[image.index] for image in wanted]])
        added = _add(extender, frames, wanted)
        with staged_folder(self._path, overwrite=True) as folder:
            report = self._write(folder, extender, source, frames, added, lesson, gone, kept, use)
            keep_versions(self._path, folder)
        return report

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

    def _with_room(self, gone: Kept, use: MapUse, new: int) -> Kept:
        """The map without images that it can do without, so that it does not grow beyond its limit."""
        excess = len(gone.images) + new - int(_GROWTH * self._built_images)
        if excess <= 0:
            return gone
        presence = use.points.take(gone.points).presence
        left_out = dispensable([image.point_rows for image in gone.map.images], presence, excess)
        return thin(gone.map, np.zeros(len(gone.points), bool), left_out).of(gone)

    def _write(
        self,
        folder: Path,
        extender: MapExtender,
        source: MapSource,
        frames: Sequence[MapFrame],
        added: Added,
        lesson: Lesson,
        gone: Kept,
        kept: Kept,
        use: MapUse,
    ) -> UpdateReport:
        """Write the next version of the map, with its card, into a folder."""
        version, old = next_version(self._path), self._map
        thumbnails = {name: old.thumbnails[name] for name in added.features if name in old.thumbnails}
        write_thumbnails(folder / THUMBNAIL_FOLDER, thumbnails)
        described = replace(extender.describe_map(old.name, [source]), version=version)
        written = extender.save(folder, described, frames, added)
        new = open_map(folder, checksums=False, whole=True)
        rows = same_points(new.points, old.points)
        report = UpdateReport(
            version=version,
            session=source.label,
            images=lesson.images,
            taught=len(lesson.taught),
            refused=dict(lesson.refused),
            gone_points=len(old.points) - len(gone.points),
            replaced_points=len(gone.points) - int((rows >= 0).sum()),
            new_points=int((rows < 0).sum()),
            stable_points=int((rows >= 0).sum()),
            gone_images=len(old.images) - len(gone.images),
            replaced_images=len(gone.images) - len(kept.images),
            new_images=len(new.images) - len(kept.images),
            map_images=len(new.images),
            left_out=tuple(added.left_out),
            stale=tuple(old.manifest.prepared),
        )
        self._write_use(folder, new, rows, use, len(old.manifest.sessions) + 1)
        manifest = validate_map(folder, self._with_session(written, report, folder))
        self._write_card(folder, manifest, report, source, lesson, added, ChangedPoints.of(new, old, rows))
        return report

    def _write_use(self, folder: Path, new: Map, rows: NDArray[np.intp], use: MapUse, session: int) -> None:
        names = {image.name: row for row, image in enumerate(self._map.images)}
        images = np.array([names.get(image.name, -1) for image in new.images], np.intp)
        sessions = np.where(images >= 0, np.append(use.sessions, 0)[images], session).astype(np.int32)
        write_use(folder / USE_NAME, MapUse(use.points.take(rows), use.images.take(images), sessions))

    def _with_session(self, written: Manifest, report: UpdateReport, folder: Path) -> Manifest:
        """The manifest with this session; the first one says how many images the map was built of."""
        today = datetime.now(timezone.utc).date().isoformat()
        session = {"name": report.session, "date": today, "built_images": self._built_images}
        session |= {key: value for key, value in asdict(report).items() if isinstance(value, int)}
        files = {**written.files, USE_NAME: file_info(folder / USE_NAME)}
        return replace(written, files=files, sessions=[*self._map.manifest.sessions, session])

    def _write_card(
        self,
        folder: Path,
        manifest: Manifest,
        report: UpdateReport,
        source: MapSource,
        lesson: Lesson,
        added: Added,
        changed: ChangedPoints,
    ) -> None:
        counts = [
            ImageCount(self._map.name, report.map_images - report.new_images, report.map_images - report.new_images)
        ]
        counts.append(ImageCount(source.label, report.new_images + len(report.left_out), report.new_images))
        cameras = assess_cameras(added.reconstruction, {})
        write_card(folder, manifest, summarize(manifest, counts, added.reconstruction, {}, report.left_out, cameras))
        unit = "m" if manifest.metric else ""
        section = changes_section(report, changed, gravity_aligned=manifest.gravity_aligned, unit=unit)
        put_section(folder, "changes", section)


def _add(extender: MapExtender, frames: Sequence[MapFrame], wanted: Sequence[TaughtImage]) -> Added:
    """The map with the frames whose registered poses agree with those by which they taught."""
    added = extender.add(frames)
    poses, taught = registered_poses(added.reconstruction), {image.stamp_ns: image for image in wanted}
    wrong = {
        frame.name for frame in frames if frame.name in poses and not _agrees(poses[frame.name], taught[frame.stamp_ns])
    }
    if not wrong:
        return added
    again = extender.add([frame for frame in frames if frame.name not in wrong])
    return replace(again, left_out=[*again.left_out, *sorted(wrong)])


def _agrees(map_from_camera: SE3, taught: TaughtImage) -> bool:
    error = pose_difference(map_from_camera, taught.map_from_camera)
    return float(error @ np.linalg.solve(taught.covariance, error)) <= _CONTRADICTION


def same_points(points: Array, others: Array) -> NDArray[np.intp]:
    """For each point (P, 3) the row of the other one (Q, 3) at exactly the same place, or -1."""
    rows = {point.tobytes(): row for row, point in enumerate(np.ascontiguousarray(others))}
    return np.array([rows.get(point.tobytes(), -1) for point in np.ascontiguousarray(points)], np.intp)
