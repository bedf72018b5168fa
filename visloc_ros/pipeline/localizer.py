"""From a frame to its pose: the odometry node, the commands and the tests call ``Localizer.process``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from visloc_ros.core.clock import StampGuard, StampVerdict
from visloc_ros.core.geometry import SE3
from visloc_ros.core.repeated_images import RepeatedImages, StaleImages, shows_nothing
from visloc_ros.core.timing import ProcessorTime
from visloc_ros.core.types import (
    ACCEPTED,
    Anchor,
    AnchorPose,
    Estimate,
    Frame,
    Image,
    LoopClosure,
    MapIdentity,
    OdometryPose,
    Reason,
    Rejection,
    State,
    TrackedPose,
    Verdict,
)

_MAP_PERIOD_NS, _LONGEST_MAP_PERIOD_NS = 60_000_000, 300_000_000
"""Intervals between frames whose map points are followed: while these hold the pose, and the longest while newer frames
wait. Odometry measures the motion of the frames in between better than these points could."""
_SETTLED_NS = 1_000_000_000  # for which map points have held the pose: before, each frame may refute it


class FrameTracker(Protocol):
    """Interface of the odometry."""

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give unscaled ``odom_from_camera`` of the next frame, or the reason why there is none."""

    def take_loops(self) -> Sequence[LoopClosure]:
        """Loops closed since the last call."""

    def settle(self) -> Mapping[str, float]:
        """Do the work that only the next pose needs."""

    def reset(self) -> None:
        """Forget everything; the next pose belongs to a new segment."""


MustTrack = Callable[[SE3 | None], bool]
"""Tells whether the points of a frame have to be followed, by its pose that odometry predicts."""


class PointTracker(Protocol):
    """Interface of map tracking."""

    @property
    def map(self) -> MapIdentity:
        """The map whose points are followed."""

    def track(self, frame: Frame, predicted: SE3 | None) -> TrackedPose | Rejection:
        """Give ``map_from_camera`` of the next frame from the last anchor's points, or the reason why there is none."""

    def must_track(self, stamp_ns: int, predicted: SE3 | None) -> bool:
        """Whether a frame has to be tracked, and its pose waits for that; to be asked of each."""

    def keep(self, frame: Frame, predicted: SE3 | None) -> None:
        """Keep a frame that is not tracked, for an anchor of it that may come later."""

    def keep_skipped(self, frame: Frame) -> None:
        """The same of a frame that there was no time for."""

    def track_others(self, stamp_ns: int, predicted: SE3 | None) -> TrackedPose | None:
        """Give the same at the stamp of a frame that cannot be used, by other cameras on the body, if there are any."""

    def link(self, anchor: AnchorPose) -> TrackedPose | None:
        """Give the pose of an anchor's image by the points of the anchor before, if it shows them."""

    def restart(self, anchor: AnchorPose, catch_up: bool = False) -> None:
        """Follow the points of an accepted, late anchor from now on, or through the kept images first."""

    def reset(self) -> None:
        """Forget the anchor and all images."""


class PoseBackend:
    """Interface of the back end; one in another process publishes, judges and searches by itself."""

    def add_odometry(self, result: OdometryPose | Rejection, must_track: MustTrack | None = None) -> Estimate | None:
        """Publish the frame's pose, or wait for its map points with that if they have to be followed."""
        return None

    def add_loop(self, loop: LoopClosure) -> Verdict | None:
        """Join a loop."""
        return None

    def published_at(self, stamp_ns: int) -> Estimate | None:
        """The published output of the newest frame, if it is of this stamp: its pose may come with its map points."""
        return None

    @property
    def map(self) -> MapIdentity | None:
        """The map that poses are in; None while it is not known."""
        return None

    def take_accepted(self) -> Sequence[Anchor]:
        """Anchors since the last call whose points are to be followed."""
        return ()

    def predict(self, stamp_ns: int) -> SE3 | None:
        """``map_from_camera`` expected at the stamp of a frame."""
        return None

    def add_tracked(self, result: TrackedPose | Rejection) -> Verdict | None:
        """Join followed map points."""
        return None

    def search(self, frame: Frame) -> None:
        """Have a frame searched in the map if the search is idle."""


class TrackingListener:
    """Receives the trackers' results of each frame; override the methods of interest."""

    def on_odometry(self, frame: Frame, result: OdometryPose | Rejection) -> None:
        """Odometry of a frame, whose pose has been published already."""

    def on_skipped(self, rejection: Rejection) -> None:
        """A frame that there was no time for, or that is FROZEN: its pose has been predicted."""

    def on_loop_found(self, loop: LoopClosure) -> None:
        """A loop that odometry closed."""

    def on_points_followed(self, result: TrackedPose | Rejection) -> None:
        """Followed map points of a frame."""


class Localizer:
    """Takes frames, in the order of their stamps and from one thread, through the trackers and the back end.

    Without a ``map_tracker`` odometry alone leads from one anchor to the next. ``is_behind`` returns whether a
    newer frame waits already: its odometry then comes before this frame's map points, but not for long. Once map points
    have held the pose for a second they are followed every 60 ms, until they fail once. A frame whose image is the one
    before once more is FROZEN, and skipped, unless the images are ``is_noiseless``, as those of a simulator; so is one
    that shows what an earlier image did (``StaleImages``). If each image ``is_compared`` with those before as it
    arrives, neither is looked for here. What odometry finds FROZEN by other sensors is neither searched, nor are map
    points followed in it.
    """

    def __init__(
        self,
        odometry: FrameTracker,
        backend: PoseBackend,
        map_tracker: PointTracker | None = None,
        listener: TrackingListener | None = None,
        is_behind: Callable[[], bool] = lambda: False,
        *,
        is_noiseless: bool = False,
        is_compared: bool = False,
    ) -> None:
        self._repeated = None if is_noiseless or is_compared else RepeatedImages()
        self._stale = None if is_compared else StaleImages()
        self.odometry, self.backend, self.map_tracker = odometry, backend, map_tracker
        self._listener = listener or TrackingListener()
        self._is_behind = is_behind
        self._guard = StampGuard()
        self._map_tracked_ns = 0
        self._is_lost = False  # odometry, at the last frame that it was given
        self._held: tuple[int, int] | None = None  # since when map points hold the pose, in which segment of odometry
        self.refused: Counter[str] = Counter()
        """Frames left out for their stamp, by reason, and how often the clock jumped back."""
        self.skipped = 0
        """Frames whose map points were left out because a newer frame waited."""
        self.outcomes: Counter[str] = Counter()
        """Anchors whose points could not be followed, by reason."""
        self.disagreements = 0
        """Tracked poses in a row that contradict odometry."""
        self.processor = ProcessorTime()

    def process(self, frame: Frame) -> Estimate | None:
        """Take one frame through odometry, fusion and map tracking; None for one that is out of order.

        Its pose is published as soon as odometry has it. The later steps improve the frames after it.
        """
        if not self._accept_stamp(frame.stamp_ns):  # a clock that jumps back forgets the images: a bag begins again
            return None
        if self._was_sent_before(frame.image):
            return self._leave_out(Rejection(frame.stamp_ns, Reason.FROZEN))
        with self.processor("odometry"):
            odometry = self.odometry.track(frame)  # odom_from_camera, or the reason why there is none
        self._is_lost = isinstance(odometry, Rejection)
        if isinstance(odometry, Rejection) and odometry.reason is Reason.FROZEN:
            return self._leave_out(odometry)  # neither map points nor a search say where the camera is
        with self.processor("fusion"):
            must_track = None if self.map_tracker is None else partial(self.map_tracker.must_track, frame.stamp_ns)
            # The pose goes out; anchors that have arrived join.
            estimate = self.backend.add_odometry(odometry, must_track)
        self._listener.on_odometry(frame, odometry)
        for loop in self.odometry.take_loops():  # a place that odometry has seen before
            self.backend.add_loop(loop)
            self._listener.on_loop_found(loop)
        if self.map_tracker is not None:  # map_from_camera from the last anchor's points
            with self.processor("map tracking"):
                self._track_map(self.map_tracker, frame, odometry, estimate)
        with self.processor("search"):
            self.backend.search(frame)  # also without odometry, which may give the frame a pose when it begins
        with self.processor("keyframes"):
            self.odometry.settle()
        return self.backend.published_at(frame.stamp_ns) or estimate

    def _was_sent_before(self, image: Image) -> bool:
        """Whether an image that shows something is the one before once more, or shows what an earlier one did."""
        repeats = self._repeated is not None and self._repeated.repeats(image)
        is_stale = self._stale is not None and self._stale.is_stale(image)
        return (repeats or is_stale) and not shows_nothing(image)

    def miss(self, frame: Frame, reason: Reason) -> Estimate | None:
        """Take one frame that cannot be tracked, for a reason known beforehand; None for one that is out of order."""
        if not self._accept_stamp(frame.stamp_ns):
            return None
        rejection = Rejection(frame.stamp_ns, reason)
        estimate = self.backend.add_odometry(rejection)
        self._listener.on_odometry(frame, rejection)
        return estimate

    def skip(self, stamp_ns: int, reason: Reason = Reason.OVERLOADED, frame: Frame | None = None) -> Estimate | None:
        """Skip a frame, for lack of time or one that is FROZEN, and predict its pose; None for one out of order.

        One for which there was no time is kept, if it is given: the next anchor may be of its image.
        """
        if not self._accept_stamp(stamp_ns):
            return None
        estimate = self._leave_out(Rejection(stamp_ns, reason))
        if frame is not None and reason is Reason.OVERLOADED and self.map_tracker is not None:
            self.map_tracker.keep_skipped(frame)
        return estimate

    def _leave_out(self, rejection: Rejection) -> Estimate | None:
        is_blind = self._is_lost or rejection.reason is Reason.FROZEN
        by_others = self._track_others(rejection.stamp_ns) if is_blind else None
        if by_others is not None:
            return self._lead_by_others(by_others)
        estimate = self.backend.add_odometry(rejection)
        self._listener.on_skipped(rejection)
        return estimate

    def follow_others(self, stamp_ns: int) -> Estimate | None:
        """Give the pose at a stamp by the images of other cameras, while the leading one sends none; None without."""
        by_others = self._track_others(stamp_ns)
        return None if by_others is None or not self._accept_stamp(stamp_ns) else self._lead_by_others(by_others)

    def _track_others(self, stamp_ns: int) -> TrackedPose | None:
        tracker = self.map_tracker
        if tracker is None or not self._is_in_frame_in_use(tracker):
            return None
        return tracker.track_others(stamp_ns, self.backend.predict(stamp_ns))

    def _lead_by_others(self, tracked: TrackedPose) -> Estimate | None:
        """Publish the pose that other cameras give a frame without odometry."""
        rejection = Rejection(tracked.stamp_ns, Reason.NO_ODOMETRY)
        estimate = self.backend.add_odometry(rejection)
        self._listener.on_skipped(rejection)
        self.backend.add_tracked(tracked)
        self._listener.on_points_followed(tracked)
        return self.backend.published_at(tracked.stamp_ns) or estimate

    def reset(self) -> None:
        """Forget all images: stamps start again."""
        if self._stale is not None:
            self._stale.reset()
        self.restart_odometry()
        if self.map_tracker is not None:
            self.map_tracker.reset()

    def restart_odometry(self) -> None:
        """Begin odometry again from the next frame; followed map points hold the pose meanwhile."""
        self.odometry.reset()
        self._map_tracked_ns, self._held, self.disagreements = 0, None, 0

    def _track_map(
        self, tracker: PointTracker, frame: Frame, odometry: OdometryPose | Rejection, estimate: Estimate | None
    ) -> None:
        if not self._is_in_frame_in_use(tracker):
            self._forget_points(tracker)
            refused = Rejection(frame.stamp_ns, Reason.OTHER_FRAME)
            self.backend.add_tracked(refused)
            self._listener.on_points_followed(refused)
            return
        # Without an estimate another process knows, and judges anchors before they come here.
        is_awaited = estimate is not None and self.backend.published_at(frame.stamp_ns) is None
        has_scale = estimate is None or estimate.scale is not None
        for anchor in self.backend.take_accepted():
            self._follow(tracker, anchor, has_scale, is_awaited)
            self._map_tracked_ns = 0
        is_known = estimate is None or estimate.map_from_odom is not None  # otherwise it is a prior of the search
        if is_awaited and isinstance(odometry, OdometryPose) and odometry.is_recovered:
            is_known = False  # the points are to show whether odometry was recovered in the right place
        predicted = self.backend.predict(frame.stamp_ns) if is_known else None
        is_recent = frame.stamp_ns - self._map_tracked_ns < _LONGEST_MAP_PERIOD_NS
        is_late = self._is_behind() and is_recent and not is_awaited
        if is_late or (self._rests(odometry, estimate) and not is_awaited):
            self.skipped += is_late
            tracker.keep(frame, predicted)
            return
        self._map_tracked_ns = frame.stamp_ns
        tracked = tracker.track(frame, predicted)
        verdict = self.backend.add_tracked(tracked)
        if isinstance(verdict, Rejection) and verdict.reason is Reason.OTHER_FRAME:
            return  # the map has changed meanwhile: a pose in the frame before is none
        self._note_verdict(verdict)
        is_held = isinstance(tracked, TrackedPose) and not isinstance(verdict, Rejection)
        self._hold(odometry if is_held and isinstance(odometry, OdometryPose) else None)
        self._listener.on_points_followed(tracked)

    def _note_verdict(self, verdict: Verdict | None) -> None:
        if verdict is ACCEPTED:
            self.disagreements = 0
        elif isinstance(verdict, Rejection):
            self.disagreements += verdict.reason is Reason.ODOMETRY_DISAGREES

    def _is_in_frame_in_use(self, tracker: PointTracker) -> bool:
        """Whether the tracker's map is in the frame of the map in use: nothing of another frame is followed."""
        in_use = self.backend.map
        if in_use is None or in_use.shares_frame(tracker.map):
            return True
        self.outcomes["anchor of another map"] += len(self.backend.take_accepted())
        return False

    def _forget_points(self, tracker: PointTracker) -> None:
        tracker.reset()
        self._hold(None)

    def _hold(self, odometry: OdometryPose | None) -> None:
        """Note since when map points confirm the pose by odometry; None: they do not."""
        if odometry is None:
            self._held = None
        elif self._held is None or self._held[1] != odometry.segment:
            self._held = odometry.stamp_ns, odometry.segment

    def _rests(self, odometry: OdometryPose | Rejection, estimate: Estimate | None) -> bool:
        """Whether odometry alone gives the frame's pose as well, since map points held the one just before it."""
        if self._held is None or isinstance(odometry, Rejection) or odometry.segment != self._held[1]:
            return False
        if estimate is None or estimate.state is not State.LOCALIZED or odometry.stamp_ns - self._held[0] < _SETTLED_NS:
            return False
        return odometry.stamp_ns - self._map_tracked_ns < _MAP_PERIOD_NS

    def _follow(self, tracker: PointTracker, anchor: Anchor, has_scale: bool, is_awaited: bool) -> None:
        """Follow an anchor's points; where followed points alone lead, only those of one that agrees with them."""
        if not anchor.map.shares_frame(tracker.map):
            self.outcomes["anchor of another map"] += 1
            self._forget_points(tracker)  # nothing of its map is in use any more
        elif isinstance(anchor.result, AnchorPose):
            if has_scale:
                tracker.restart(anchor.result)
            elif self._link(tracker, anchor.result) or not is_awaited:
                tracker.restart(anchor.result, catch_up=True)

    def _link(self, tracker: PointTracker, anchor: AnchorPose) -> bool:
        """Whether an anchor agrees with the one before by its points, the only evidence while odometry has no scale."""
        link = tracker.link(anchor)
        if link is None:
            return False
        verdict = self.backend.add_tracked(link)
        self._listener.on_points_followed(link)
        return verdict is ACCEPTED

    def _accept_stamp(self, stamp_ns: int) -> bool:
        verdict = self._guard.judge(stamp_ns)
        if verdict is StampVerdict.IN_ORDER:
            return True
        self.refused[verdict.value] += 1
        if verdict is StampVerdict.CLOCK_JUMP:
            self.reset()
        return verdict is StampVerdict.CLOCK_JUMP
