"""Writes the next version of a map, what is known of its use, and its card with what has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER
from visloc_ros.core.map_preparation import put_section
from visloc_ros.core.map_versions import successor
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
from visloc_ros.mapping.update.use import MapUse, same_points, write_use
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


def write_version(folder: Path, extender: MapExtender, change: Change, path: Path, content: str) -> UpdateReport:
    """Write the next version of the map at ``path`` into a folder; ``extender`` holds the map that is kept.

    ``content`` identifies the recording, empty if it is not known.
    """
    old, added = change.old, change.added
    thumbnails = {name: old.thumbnails[name] for name in added.features if name in old.thumbnails}
    write_thumbnails(folder / THUMBNAIL_FOLDER, thumbnails)
    cameras = assess_cameras(added.reconstruction, {frame.name: frame.camera for frame in change.frames})
    described = with_cameras(extender.describe_map(old.name, [change.source]), cameras)
    next_one = successor(described, path, old.manifest, "update")
    written = extender.save(folder, next_one, change.frames, added)
    new = open_map(folder, checksums=False, whole=True)
    rows = same_points(new.points, old.points)
    report = _report(change, new, rows, written.version)
    written = write_use(folder, change.use.of(old, new, rows, len(old.manifest.sessions) + 1), written)
    manifest = validate_map(folder, _with_session(written, report, content))
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


def _with_session(written: Manifest, report: UpdateReport, content: str) -> Manifest:
    """The manifest with this session."""
    session: dict[str, Any] = {"name": report.session, "date": datetime.now(timezone.utc).date().isoformat()}
    session |= {"recording": content} if content else {}
    session |= {key: value for key, value in asdict(report).items() if isinstance(value, int)}
    return replace(written, sessions=[*written.sessions, session])
