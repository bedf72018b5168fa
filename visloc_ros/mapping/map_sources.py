"""The sources of a map: one or several sources of frames, each with its cameras, its own reference poses or none.

Equal cameras of a source become one camera, which structure from motion refines once.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import TypeAlias

import numpy as np
import pycolmap

from visloc_ros.core.camera import is_same_camera
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.sources import FrameSource
from visloc_ros.sources.measurements import Measurements, measurements_of
from visloc_ros.sources.named_poses import NamedPoses

ReferencePoses: TypeAlias = Trajectory | NamedPoses


@dataclass(frozen=True, eq=False)
class MapCamera:
    """A camera that images share, and whether its intrinsics are known; guessed ones are refined.

    ``focal_sigma`` is the relative standard deviation of the focal length as stated or guessed (0: not known).
    """

    intrinsics: pycolmap.Camera
    calibrated: bool
    focal_sigma: float = 0.0


class CameraGroups:
    """The cameras of one source, each once for all its frames."""

    def __init__(self, calibrated: bool) -> None:
        self._calibrated = calibrated
        self._cameras: list[MapCamera] = []
        self._lock = threading.Lock()

    def find(self, intrinsics: pycolmap.Camera, focal_sigma: float = 0.0) -> MapCamera:
        """The camera with these intrinsics, the same object for every image of it, in all threads."""
        with self._lock:
            for known in self._cameras:
                if is_same_camera(known.intrinsics, intrinsics):
                    return known
            self._cameras.append(MapCamera(intrinsics, self._calibrated, 0.0 if self._calibrated else focal_sigma))
            return self._cameras[-1]


@dataclass(frozen=True, eq=False)
class MapSource:
    """A source of frames, its unique label, its cameras, and its reference poses ``map_from_camera``."""

    label: str
    frames: FrameSource
    references: ReferencePoses | None
    cameras: CameraGroups

    @cached_property
    def measurements(self) -> Measurements:
        """The measurements of other sensors, read when first needed. Raises as the source does."""
        return measurements_of(self.frames)


@dataclass(eq=False)
class TimeSpan:
    """The first and last stamp [ns] of a source's frames, noted while these are read."""

    begin_ns: int = field(default=np.iinfo(np.int64).max)
    end_ns: int = field(default=np.iinfo(np.int64).min)

    def watch(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Hand on frames and note their stamps."""
        for frame in frames:
            self.begin_ns, self.end_ns = min(self.begin_ns, frame.stamp_ns), max(self.end_ns, frame.stamp_ns)
            yield frame

    def overlaps(self, other: TimeSpan) -> bool:
        """Whether the two overlap."""
        return self.begin_ns <= other.end_ns and other.begin_ns <= self.end_ns


def label_sources(
    sources: FrameSource | Sequence[FrameSource],
    references: ReferencePoses | Sequence[ReferencePoses | None] | None = None,
    taken: Collection[str] = (),
) -> list[MapSource]:
    """Give every source a label, unique also among those ``taken``, and its reference poses.

    ``references`` are those of all sources, or one for each, None where a source has none. Raises ConfigError where
    their numbers do not agree.
    """
    every = list(sources) if isinstance(sources, Sequence) else [sources]
    if not every:
        raise ConfigError("no source of frames is given: name a video, an image folder or a bag")
    each = list(references) if isinstance(references, Sequence) else [references] * len(every)
    if len(each) != len(every):
        raise ConfigError(
            f"{len(each)} files of reference poses for {len(every)} sources: give one for each, or one for all"
        )
    labels = unique_labels([source.name for source in every], taken)
    return [
        MapSource(label, source, poses, CameraGroups(source.calibrated))
        for label, source, poses in zip(labels, every, each, strict=True)
    ]


def check_shared_references(sources: Sequence[MapSource], spans: Sequence[TimeSpan]) -> None:
    """Refuse one trajectory for several sources whose stamps overlap: it would be wrong for all but one of them.

    Raises ConfigError.
    """
    for (one, span), (other, other_span) in combinations(zip(sources, spans, strict=True), 2):
        shared = isinstance(one.references, Trajectory) and one.references is other.references
        if shared and span.overlaps(other_span):
            raise ConfigError(
                f"the stamps of '{one.label}' and '{other.label}' overlap, so they cannot share their reference poses: "
                "give one file of reference poses for each source"
            )


def unique_labels(names: Iterable[str], taken: Collection[str] = ()) -> list[str]:
    """Names, numbered where they have been there before or are ``taken``."""
    labels: list[str] = []
    for name in names:
        label, number = name, 1
        while label in taken or label in labels:
            number += 1
            label = f"{name}-{number}"
        labels.append(label)
    return labels


@dataclass(frozen=True, eq=False)
class SourceRecording:
    """Stamps of one source's images by their names in the map, and the measurements beside them."""

    stamps_ns: Mapping[str, int]
    measurements: Measurements = field(default_factory=Measurements)

    def path(self, map_from_cameras: Mapping[str, SE3]) -> Trajectory:
        """Poses of the registered images of this recording, in order of time."""
        stamped = {
            stamp_ns: map_from_cameras[name] for name, stamp_ns in self.stamps_ns.items() if name in map_from_cameras
        }
        stamps_ns = sorted(stamped)
        return Trajectory(np.array(stamps_ns, dtype=np.int64), tuple(stamped[stamp_ns] for stamp_ns in stamps_ns))


def find_reference(source: MapSource, frame: Frame, name: str, max_gap_s: float) -> SE3 | None:
    """Reference pose ``map_from_camera`` of a frame of a source, by its name or stamp; None where there is none.

    Raises SourceError as ``NamedPoses`` does.
    """
    references = source.references
    if references is None:
        return None
    if isinstance(references, NamedPoses):
        return references.find_shown(frame, name, source.label)
    return pose_at(references, frame.stamp_ns, max_gap_s)


def pose_at(trajectory: Trajectory, stamp_ns: int, max_gap_s: float) -> SE3 | None:
    """Pose at a stamp, interpolated between poses at most ``max_gap_s`` apart; None where there is none."""
    exact = trajectory.nearest(stamp_ns, 0)
    if exact is not None:
        return exact
    right = int(np.searchsorted(trajectory.stamps_ns, stamp_ns))
    if not 0 < right < len(trajectory):
        return None
    gap_ns = int(trajectory.stamps_ns[right] - trajectory.stamps_ns[right - 1])
    return trajectory.interpolate(stamp_ns) if gap_ns <= max_gap_s * NANOSECONDS else None
