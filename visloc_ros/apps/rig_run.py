"""A rig over its recordings: odometry follows one camera at a time, anchors are of all, the pose is the body's."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TypeVar

from visloc_ros.apps.offline_run import (
    FrameRun,
    RunConfig,
    RunListener,
    make_backend,
    search_inline,
    words_of_tracking,
)
from visloc_ros.apps.rig_report import words_of_rig
from visloc_ros.core.errors import VislocError
from visloc_ros.core.map import Map
from visloc_ros.core.progress import Progress, track
from visloc_ros.core.recent_motion import RecentMotion
from visloc_ros.core.tangent import pose_of_other
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.evaluation import AnchorRecord, FrameRecord, RunRecord
from visloc_ros.localization.rig import RigEngine, RigPose
from visloc_ros.localization.rig.types import RigImage
from visloc_ros.map_tracking import RigMapTracker
from visloc_ros.pipeline.leading_camera import LOST_NS, Lead
from visloc_ros.pipeline.output import Published
from visloc_ros.pipeline.rig_search import RigSearch
from visloc_ros.sources.measurements import Measurements
from visloc_ros.sources.rig_recording import RigRecording

_log = logging.getLogger(__name__)

RecordT = TypeVar("RecordT", FrameRecord, AnchorRecord)

_PROBES = 20  # searches, until one shows which camera sees most of the map


@dataclass(eq=False)
class _Leg:
    """A stretch of the recording in which odometry follows one camera."""

    lead: Lead
    run: FrameRun
    stamps_ns: set[int] = field(default_factory=set)

    @property
    def camera(self) -> str:
        """The camera that odometry follows."""
        return self.lead.camera

    def add(self, frames: Mapping[str, Frame]) -> None:
        """Give the frame of the camera a pose that is known in time."""
        frame = frames.get(self.camera)
        if frame is not None and self.run.add(frame) is not None:
            self.stamps_ns.add(frame.stamp_ns)
            if self.run.frames[-1].odometry_tracked:
                self.lead.tracked_ns = frame.stamp_ns


class _Listener(RunListener):
    """Also gives the motion of the rig to the search."""

    def __init__(self, search: RigSearch) -> None:
        super().__init__()
        self._search = search

    def on_published(self, published: Published) -> None:
        """Note the fused pose."""
        self._search.note(published.estimate)


def run_rig(
    place: Map,
    recording: RigRecording,
    ground_truth: Trajectory | None,
    config: RunConfig,
    progress: Progress,
    engine: RigEngine,
) -> RunRecord:
    """Give every time of a recording the best pose of the rig; deterministic. Poses of the record are ``map_from_rig``.

    ``ground_truth`` holds true ``map_from_rig``.
    """
    begin_s = time.monotonic()
    run = _RigRun(place, recording, config, engine)
    run.process(track(progress, "localize", recording, len(recording)))
    if not config.causal:
        run.estimate_best()
    run.close()
    return RunRecord(
        title=f"rig {recording.name} in {place.name}" + (", not to its end" if run.ended_by else ""),
        frames=tuple(run.frames()),
        anchors=tuple(run.anchors()),
        ground_truth=ground_truth,
        map_points=place.points,
        map_camera_positions=place.camera_positions,
        config=config.to_mapping(),
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        wall_s=time.monotonic() - begin_s,
        notes=tuple(run.notes()),
        metric=place.manifest.metric,
        ended_by=run.ended_by,
    )


class _RigRun:
    """The legs of a run, one after the other."""

    def __init__(self, place: Map, recording: RigRecording, config: RunConfig, engine: RigEngine) -> None:
        self._place, self._recording, self._config, self._rig = place, recording, config, engine.rig
        self._search = RigSearch(engine, self._first_camera(engine))
        follows_map = config.map_tracking.enabled
        self._map_tracker = RigMapTracker(place, config.map_tracking, self._search) if follows_map else None
        self._legs: list[_Leg] = []
        self._without: list[Mapping[str, Frame]] = []  # since the camera that leads has no images
        self.ended_by: BaseException | None = None

    def _first_camera(self, engine: RigEngine) -> str:
        """The camera that sees most of the map, where one of the first images is found; else the first one."""
        for frames in islice(self._recording, 0, _PROBES * _PROBES, _PROBES):
            stamp_ns = min(frame.stamp_ns for frame in frames.values())
            found = engine.localize(stamp_ns, {name: RigImage(frame) for name, frame in frames.items()})
            if isinstance(found, RigPose):
                return max(found.by_camera, key=lambda name: found.by_camera[name].num_inliers)
        return next(name for name in self._rig.names if name in self._recording.sources)

    def process(self, recording: Iterable[dict[str, Frame]]) -> None:
        """Give each time a pose that is known then; an error does not lose those before it."""
        try:
            for frames in recording:
                self._add(frames)
        except (VislocError, KeyboardInterrupt) as error:
            if not any(leg.run.frames for leg in self._legs):
                raise
            self.ended_by = error

    def _add(self, frames: Mapping[str, Frame]) -> None:
        """Take the frame of the leading camera; another one leads once odometry is lost."""
        now_ns = max(frame.stamp_ns for frame in frames.values())
        self._search.see(frames)
        leg = self._legs[-1] if self._legs else self._begin(self._search.active, now_ns)
        self._without = [] if leg.camera in frames else [*self._without, frames]
        if leg.lead.is_lost(now_ns) and (other := self._next_camera(now_ns)) is not None:
            leg = self._hand_over(leg, other, now_ns)
            # Times without an image of the camera that led have a pose in the end, not in time.
            earlier = [] if self._config.causal else self._without[:-1]
            for missed in earlier:
                leg.add(missed)
        leg.add(frames)
        if self._config.causal and leg.camera not in frames and self._map_tracker is not None:
            for name, frame in frames.items():
                self._map_tracker.follow(name, frame)

    def _begin(self, camera: str, now_ns: int) -> _Leg:
        self._search.active, self._search.motion = camera, RecentMotion()
        # As many images are searched as of a single camera, joint poses being the better ones; and each takes its time.
        period_s, latency_s = self._config.anchor_period_s, self._config.anchor_latency_s
        cameras = len(self._recording.sources)
        config = replace(self._config, anchor_period_s=cameras * period_s, anchor_latency_s=cameras * latency_s)
        anchors = search_inline(self._search, config)
        listener = _Listener(self._search)
        mount = partial(self._rig.rig_from_camera, camera)
        if self._legs:
            backend = self._legs[-1].run.backend.handed_over(now_ns, mount, anchors, listener)
        else:
            backend = make_backend(self._config, anchors, listener, mount)
        run = FrameRun(self._place, self._config, self._search, backend, listener, Measurements(), self._map_tracker)
        self._legs.append(_Leg(Lead(camera, now_ns, now_ns), run))
        return self._legs[-1]

    def _next_camera(self, now_ns: int) -> str | None:
        """The other camera with a new image that sees most of the map; None where there is no other."""
        newest = self._search.newest
        others = [
            name
            for name in self._rig.names
            if name in newest and name != self._search.active and now_ns - newest[name].stamp_ns < LOST_NS
        ]
        return max(others, key=lambda name: self._search.inliers.get(name, 0), default=None)

    def _hand_over(self, leg: _Leg, camera: str, now_ns: int) -> _Leg:
        """Let odometry follow another camera; its search begins at the last pose, if that is recent."""
        _log.info("odometry of '%s' is lost: '%s' leads", leg.camera, camera)
        return self._begin(camera, now_ns)

    def estimate_best(self) -> None:
        """Give every time the best pose that is known in the end."""
        for leg in self._legs:
            self._search.active, self._search.motion = leg.camera, RecentMotion()
            leg.run.estimate_best(self._frames_of(leg))
            self.ended_by = self.ended_by or leg.run.ended_by

    def _frames_of(self, leg: _Leg) -> Iterator[Frame]:
        """The frames of a leg, read again; the search sees those of the other cameras."""
        for frames in self._recording:
            self._search.see(frames)
            frame = frames.get(leg.camera)
            if frame is not None and frame.stamp_ns in leg.stamps_ns:
                yield frame

    def close(self) -> None:
        """End the processes beside it."""
        for leg in self._legs:
            leg.run.close()

    def frames(self) -> Iterator[FrameRecord]:
        """Records of all times, of the rig."""
        return (self._of_rig(record, leg) for leg in self._legs for record in leg.run.frames)

    def anchors(self) -> Iterator[AnchorRecord]:
        """Records of all searches, of the rig."""
        return (self._of_rig(record, leg) for leg in self._legs for record in leg.run.listener.anchors)

    def _of_rig(self, record: RecordT, leg: _Leg) -> RecordT:
        if record.map_from_camera is None or record.covariance is None:
            return record
        camera_from_rig = self._rig.rig_from_camera(leg.camera).inverse
        pose, covariance = pose_of_other(record.map_from_camera, record.covariance, camera_from_rig)
        return replace(record, map_from_camera=pose, covariance=covariance)

    def notes(self) -> Iterator[str]:
        """Which camera led when, what followed map points gave, and what is known of each camera."""
        begin_ns = self._legs[0].lead.begin_ns if self._legs else 0
        for leg in self._legs:
            yield f"'{leg.camera}' leads from {(leg.lead.begin_ns - begin_ns) / NANOSECONDS:.1f} s on"
            if leg.run.listener.tracked:
                yield words_of_tracking(leg.run.listener.tracked)
        yield from words_of_rig(self._search.engine)
