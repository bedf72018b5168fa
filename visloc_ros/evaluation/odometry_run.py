"""Runs odometry over frames, and times its start, every frame, and its end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from visloc_ros.core.camera_load import CameraLoad
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import OdometryPose, Rejection
from visloc_ros.evaluation.decoding import DecodedFrame
from visloc_ros.evaluation.machine import peak_rss_mb
from visloc_ros.odometry import Odometry

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """The odometry of one frame, and the milliseconds to read the frame, to track it, and to settle after it.

    ``settle_stages_ms`` are the stages of settling; the result itself holds those of tracking.
    """

    result: OdometryPose | Rejection
    decode_ms: float
    track_ms: float
    settle_ms: float = 0.0
    settle_stages_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def busy_ms(self) -> float:
        """Time until the next frame can be tracked."""
        return self.track_ms + self.settle_ms


@dataclass(frozen=True, eq=False)
class OdometryRun:
    """Every frame of a run in the order of time; not ``is_complete`` where reading or tracking raised.

    ``init_ms`` is the making of the odometry, ``finalize_ms`` its end, in which some odometry refines its path.
    ``peak_rss_mb`` includes processes that the odometry runs beside the frames.
    """

    frames: tuple[TrackedFrame, ...]
    init_ms: float
    finalize_ms: float
    peak_rss_mb: float
    refined: Trajectory | None = None
    is_complete: bool = True

    @property
    def results(self) -> Sequence[OdometryPose | Rejection]:
        """Pose or reason of every frame."""
        return [frame.result for frame in self.frames]

    @property
    def poses(self) -> list[OdometryPose]:
        """The poses alone."""
        return [result for result in self.results if isinstance(result, OdometryPose)]


def with_earlier_poses(run: OdometryRun) -> OdometryRun:
    """The same run with the poses that odometry gave later for frames that it had refused."""
    earlier = {
        stamp_ns: OdometryPose(stamp_ns, odom_from_camera, pose.segment, 0)
        for pose in run.poses
        for stamp_ns, odom_from_camera in pose.earlier.items()
    }
    frames = (
        replace(frame, result=earlier.get(frame.result.stamp_ns, frame.result))
        if isinstance(frame.result, Rejection)
        else frame
        for frame in run.frames
    )
    return replace(run, frames=tuple(frames))


class OdometryRecorder:
    """Runs odometry over frames; after an exception, ``run`` still holds the frames before it."""

    def __init__(self, make: Callable[[], Odometry]) -> None:
        """Make the odometry, which is timed, too."""
        self._odometry, init_ms = _timed(make)
        self.run = OdometryRun((), init_ms, 0.0, peak_rss_mb(), is_complete=False)

    def follow(self, frames: Iterable[DecodedFrame]) -> OdometryRun:
        """Track every frame, and end the odometry; it is ended, too, when tracking or reading raises."""
        tracked: list[TrackedFrame] = []
        try:
            for frame in frames:
                tracked.append(_track(self._odometry, frame))
            refined, finish_ms = _timed(self._odometry.finish)
            self.run = replace(self.run, finalize_ms=finish_ms, refined=refined, is_complete=True)
        finally:
            memory_mb = peak_rss_mb()
            _, close_ms = _timed(self._odometry.close)
            finalize_ms = self.run.finalize_ms + close_ms
            self.run = replace(self.run, frames=tuple(tracked), finalize_ms=finalize_ms, peak_rss_mb=memory_mb)
        return self.run


def run_odometry(make: Callable[[], Odometry], frames: Iterable[DecodedFrame]) -> OdometryRun:
    """Make the odometry, track every frame, and end it."""
    return OdometryRecorder(make).follow(frames)


class AtStamps:
    """Frames handed out at the speed of their stamps, as a camera does.

    A frame is dropped and counted where the odometry node would skip it, too, because of newer ones that are due.
    """

    def __init__(self, frames: Iterable[DecodedFrame]) -> None:
        self._frames = frames
        self._load = CameraLoad()

    @property
    def dropped(self) -> int:
        """Frames dropped so far."""
        return self._load.skipped

    def __iter__(self) -> Iterator[DecodedFrame]:
        arriving = _Arrivals(iter(self._frames))
        while (frame := arriving.next()) is not None:
            if not self._load.skips(arriving.num_waiting(), time.monotonic()):
                yield frame


class _Arrivals:
    """Frames with the times at which a camera would deliver them; they are read as late as possible."""

    def __init__(self, frames: Iterator[DecodedFrame]) -> None:
        self._frames = frames
        self._read: deque[tuple[float, DecodedFrame]] = deque()
        self._begin_s: float | None = None
        self._first_ns = 0

    def next(self) -> DecodedFrame | None:
        """The next frame, once it has arrived; None after the last."""
        if not self._read and not self._read_one():
            return None
        due_s, frame = self._read.popleft()
        time.sleep(max(0.0, due_s - time.monotonic()))
        return frame

    def num_waiting(self) -> int:
        """How many frames have arrived since the last one that was taken."""
        while (not self._read or self._read[-1][0] <= time.monotonic()) and self._read_one():
            pass
        now_s = time.monotonic()
        return sum(due_s <= now_s for due_s, _ in self._read)

    def _read_one(self) -> bool:
        frame = next(self._frames, None)
        if frame is None:
            return False
        if self._begin_s is None:
            self._begin_s, self._first_ns = time.monotonic(), frame.frame.stamp_ns
        self._read.append((self._begin_s + (frame.frame.stamp_ns - self._first_ns) / NANOSECONDS, frame))
        return True


def _track(odometry: Odometry, decoded: DecodedFrame) -> TrackedFrame:
    result, track_ms = _timed(lambda: odometry.track(decoded.frame))
    stages_ms, settle_ms = _timed(odometry.settle)
    return TrackedFrame(result, decoded.decode_ms, track_ms, settle_ms, stages_ms)


def _timed(work: Callable[[], ResultT]) -> tuple[ResultT, float]:
    begin = time.perf_counter()
    result = work()
    return result, 1e3 * (time.perf_counter() - begin)
