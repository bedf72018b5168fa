"""Writes the next version of a map, what is known of its use, and its card with what has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.manifest import Manifest, file_info
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER
from visloc_ros.core.map_preparation import put_section
from visloc_ros.mapping.builder import with_cameras
from visloc_ros.mapping.camera_knowledge import assess_cameras
from visloc_ros.mapping.card import write_card
from visloc_ros.mapping.collection import MapFrame, write_thumbnails
from visloc_ros.mapping.extension import Added, MapExtender
from visloc_ros.mapping.map_sources import MapSource
from visloc_ros.mapping.summary import ImageCount, summarize
from visloc_ros.mapping.update.report import ChangedPoints, UpdateReport, changes_section
from visloc_ros.mapping.update.teaching import Lesson
from visloc_ros.mapping.update.thinning import Kept
from visloc_ros.mapping.update.use import USE_NAME, MapUse, write_use
from visloc_ros.mapping.validation import validate_map


@dataclass(frozen=True, eq=False)
class Change:
    """What a recording changes in the map ``old``, and the ``use`` of that, this session counted.

    ``gone`` is the map without what is gone, ``kept`` the same with room for ``frames``, which ``added`` contains.
    """

    old: Map
    source: MapSource
    lesson: Lesson
    use: MapUse
    gone: Kept
    kept: Kept
    frames: Sequence[MapFrame]
    added: Added


def write_version(folder: Path, extender: MapExtender, change: Change, version: int, built_images: int) -> UpdateReport:
    """Write a version of a map into a folder; ``extender`` holds the map that is kept."""
    old, added = change.old, change.added
    thumbnails = {name: old.thumbnails[name] for name in added.features if name in old.thumbnails}
    write_thumbnails(folder / THUMBNAIL_FOLDER, thumbnails)
    cameras = assess_cameras(added.reconstruction, {frame.name: frame.camera.calibrated for frame in change.frames})
    described = with_cameras(extender.describe_map(old.name, [change.source]), cameras)
    written = extender.save(folder, replace(described, version=version), change.frames, added)
    new = open_map(folder, checksums=False, whole=True)
    rows = same_points(new.points, old.points)
    report = _report(change, new, rows, version)
    _write_use(folder, change, new, rows)
    manifest = validate_map(folder, _with_session(written, report, folder, built_images, old.manifest))
    kept = report.map_images - report.new_images
    wanted = ImageCount(change.source.label, report.new_images + len(report.left_out), report.new_images)
    counts = [ImageCount(old.name, kept, kept), wanted]
    write_card(folder, manifest, summarize(manifest, counts, added.reconstruction, {}, report.left_out, cameras))
    put_section(folder, "changes", changes_section(report, ChangedPoints.of(new, old, rows), manifest))
    return report


def _report(change: Change, new: Map, rows: NDArray[np.intp], version: int) -> UpdateReport:
    stable, gone, kept = int((rows >= 0).sum()), change.gone, change.kept
    return UpdateReport(
        version=version,
        session=change.source.label,
        images=change.lesson.images,
        taught=len(change.lesson.taught),
        refused=dict(change.lesson.refused),
        gone_points=len(change.old.points) - len(gone.points),
        replaced_points=len(gone.points) - stable,
        new_points=len(rows) - stable,
        stable_points=stable,
        gone_images=len(change.old.images) - len(gone.images),
        replaced_images=len(gone.images) - len(kept.images),
        new_images=len(new.images) - len(kept.images),
        map_images=len(new.images),
        left_out=tuple(change.added.left_out),
        stale=tuple(change.old.manifest.prepared),
    )


def _write_use(folder: Path, change: Change, new: Map, rows: NDArray[np.intp]) -> None:
    """Write the counts of what stays, in the order of the new map, and none of what is new."""
    use, session = change.use, len(change.old.manifest.sessions) + 1
    names = {image.name: row for row, image in enumerate(change.old.images)}
    images = np.array([names.get(image.name, -1) for image in new.images], np.intp)
    sessions = np.where(images >= 0, np.append(use.sessions, 0)[images], session).astype(np.int32)
    write_use(folder / USE_NAME, MapUse(use.points.take(rows), use.images.take(images), sessions))


def _with_session(
    written: Manifest, report: UpdateReport, folder: Path, built_images: int, before: Manifest
) -> Manifest:
    """The manifest with this session, which updated the map of ``before``, and the file of use."""
    today = datetime.now(timezone.utc).date().isoformat()
    session = {"name": report.session, "date": today, "built_images": built_images, "before": before.model_id}
    session |= {key: value for key, value in asdict(report).items() if isinstance(value, int)}
    files = {**written.files, USE_NAME: file_info(folder / USE_NAME)}
    return replace(written, files=files, sessions=[*written.sessions, session])


def same_points(points: Array, others: Array) -> NDArray[np.intp]:
    """For each point (P, 3) the row of the other one (Q, 3) at exactly the same place, or -1."""
    rows = {point.tobytes(): row for row, point in enumerate(np.ascontiguousarray(others))}
    return np.array([rows.get(point.tobytes(), -1) for point in np.ascontiguousarray(points)], np.intp)
