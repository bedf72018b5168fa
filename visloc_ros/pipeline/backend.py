"""The back end: turns measurements, in the order of their arrival, into published poses.

It alone decides what happens to odometry, anchors, tracked poses, loops, pose priors and silence: the nodes, the
commands and the tests all call it. It publishes the pose of a frame as soon as it has its odometry. Slower measurements
(anchors that have arrived, followed map points, loops) join afterwards and improve the frames that follow.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from visloc_ros.core.clock import StampGuard, StampVerdict
from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.geo_reference import GeoReference
from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.core.recent_motion import unobserved_motion_covariance
from visloc_ros.core.tangent import pose_of_other
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import (
    PENDING,
    Anchor,
    AnchorPose,
    Estimate,
    Frame,
    LoopClosure,
    MapIdentity,
    Mode,
    OdometryPose,
    Reason,
    Rejection,
    State,
    TrackedPose,
    Verdict,
)
from visloc_ros.fusion.estimator import Estimator
from visloc_ros.fusion.frame_transform import FrameTransform, moved_anchor, moved_pose
from visloc_ros.fusion.initialization.pose_prior import PosePrior
from visloc_ros.fusion.innovation import Innovation
from visloc_ros.fusion.input_checks import is_valid_prior
from visloc_ros.fusion.single_source import ESTIMATORS
from visloc_ros.pipeline.anchors import AnchorRunner, RemoteAnchors
from visloc_ros.pipeline.carried_motion import CarriedMotion
from visloc_ros.pipeline.config import BackendConfig
from visloc_ros.pipeline.inputs import Input, InputKind
from visloc_ros.pipeline.localizer import MustTrack, PoseBackend
from visloc_ros.pipeline.odometry_continuity import OdometryContinuity
from visloc_ros.pipeline.output import OthersOdometry, Output, Published

_log = logging.getLogger(__name__)

NOT_FOLLOWED = (Reason.OVERLOADED, Reason.FROZEN)
"""Why a frame is not given to odometry; its pose is carried on from those before it."""
KEPT = 64  # anchors: unused ones, where no points are followed, and those that may come again

Mount = Callable[[], SE3 | None]
"""``base_from_camera`` of the camera in use, None while it is not known."""


@dataclass(frozen=True, eq=False)
class BasePrior:
    """A pose prior of the robot: ``map_from_base`` with its covariance (6, 6), and its source."""

    source: str
    map_from_base: SE3
    covariance: Array
    stamp_ns: int = 0  # of the message that holds it

    def of_camera(self, base_from_camera: SE3) -> tuple[SE3, Array]:
        """The same as ``map_from_camera`` with its covariance."""
        return pose_of_other(self.map_from_base, self.covariance, base_from_camera)

    def moved(self, moved_from_map: Sim3) -> BasePrior:
        """The same in another frame of the map."""
        pose, covariance = moved_pose(self.map_from_base, self.covariance, moved_from_map)
        return replace(self, map_from_base=pose, covariance=covariance)


class BackendListener:
    """Receives what is published and the verdict on each measurement; override the methods of interest."""

    def on_published(self, published: Published) -> None:
        """The output at one frame, or in silence."""

    def on_anchor(self, anchor: Anchor, verdict: Verdict) -> None:
        """An anchor has been judged; one that was PENDING comes again with its final verdict."""

    def on_tracked(self, result: TrackedPose | Rejection, verdict: Verdict) -> None:
        """Followed map points of a frame have been judged."""

    def on_loop(self, loop: LoopClosure, verdict: Verdict) -> None:
        """A loop that odometry closed has been judged."""

    def on_innovation(self, innovation: Innovation) -> None:
        """The innovation of an anchor or a tracked pose."""

    def on_clock_jump(self) -> None:
        """Stamps have run back: the back end starts again."""

    def on_map(self, identity: MapIdentity, since_ns: int) -> None:
        """The map in use is another one, or in another frame: poses are in that from the image of a stamp on."""

    def prior_of_map(self, identity: MapIdentity) -> BasePrior | None:
        """A stored pose prior, requested when the first map is used."""
        return None


class Backend(PoseBackend):
    """Owns the estimator; every method may be called from any thread."""

    def __init__(
        self,
        config: BackendConfig,
        anchors: AnchorRunner | None = None,
        mount: Mount = SE3.identity,
        listener: BackendListener | None = None,
        others_odometry: OthersOdometry | None = None,
    ) -> None:
        self._config, self._mount, self._listener = config, mount, listener or BackendListener()
        self._anchors: AnchorRunner = anchors or RemoteAnchors()
        self._is_anchors_only = config.mode == Mode.ANCHORS
        self._silence = Reason.NO_ANCHOR if self._is_anchors_only else Reason.NO_ODOMETRY
        self._estimator = ESTIMATORS[Mode(config.mode)](config.fusion, False)
        self._continuity = OdometryContinuity()
        self._output = Output(config, others_odometry)
        self._motion = CarriedMotion(config.fusion.state)
        self._guard = StampGuard()
        self._map: MapIdentity | None = None
        self._frame = FrameTransform.identity()  # of the map in use, by that in which the estimator began
        self._since_ns = 0  # the first image whose pose is in that frame
        self._odom_from_camera: SE3 | None = None  # the newest
        self._prior: BasePrior | None = None
        self._mounted: SE3 | None = None  # base_from_camera of the newest output
        self._last: BasePrior | None = None  # the newest LOCALIZED pose
        self._accepted: deque[Anchor] = deque(maxlen=KEPT)
        self._pending: dict[int, Anchor] = {}
        self._judged: deque[tuple[str, CoordinateFrame | None, int]] = deque(maxlen=KEPT)
        self._frozen_ns: deque[int] = deque(maxlen=KEPT)  # stamps of images that do not show what is there at them
        self._inputs: list[Input] = []
        self._is_heard, self._heard_ns = False, 0
        self._withheld_ns: int | None = None
        self._ended_ns: int | None = None  # the newest stamp before the clock jumped
        self._lock = threading.RLock()
        self.refused: Counter[str] = Counter()
        """Odometry left out for its stamp, and frames whose camera has no known place on the base, by reason."""
        self.latest = Estimate(0, State.UNINITIALIZED, self._silence)
        """The newest estimate."""

    @property
    def estimator(self) -> Estimator:
        """The estimator, for inspection."""
        return self._estimator

    @property
    def on_earth(self) -> GeoReference | None:
        """Where on the earth the map is that the anchors come from, None where that is not known."""
        return None if self._map is None else self._map.on_earth

    @property
    def map(self) -> MapIdentity | None:
        """The map that poses are in; None before the first."""
        return self._map

    @property
    def map_name(self) -> str:
        """Name of the map that the anchors are from; empty before the first."""
        return "" if self._map is None else self._map.name

    @property
    def has_heard(self) -> bool:
        """Whether any measurement has come yet."""
        return self._guard.last_ns is not None

    @property
    def has_pose_prior(self) -> bool:
        """Whether a pose prior is in use."""
        with self._lock:
            return self._estimator.pose_prior is not None

    def add_odometry(self, result: OdometryPose | Rejection, must_track: MustTrack | None = None) -> Estimate | None:
        """Publish the frame's pose, then join the anchors that have arrived; None for a frame out of order.

        Anchors are late anyway, and joining one takes as long as many poses. A frame whose pose comes with its tracked
        map points waits for these, until the next frame at the latest. A frame that was not followed, OVERLOADED or
        FROZEN, gets the pose before it, carried on, without the estimator. Not so one that odometry took time to find
        FROZEN by other sensors: the images before it have stood already, and the motion is not known.
        """
        with self._lock:
            self._publish_withheld()
            self._inputs.append(Input(InputKind.ODOMETRY, result.stamp_ns))
            if not self._accept_stamp(result.stamp_ns):
                return None
            if isinstance(result, Rejection) and result.reason is Reason.FROZEN:
                self._frozen_ns.append(result.stamp_ns)
            is_followed = not isinstance(result, Rejection) or result.reason not in NOT_FOLLOWED
            if isinstance(result, Rejection) and not is_followed and not result.stage_ms:
                carried = self._carry_on(result)
                if carried is not None:
                    return carried
            known = self.latest.scale if self.latest.metric else None
            self._estimator.add_odometry(self._frame.own_odometry(self._continuity.checked(result, known)))
            self._tell_settled()
            self._apply_prior()
            estimate = self._estimate(result.stamp_ns)
            is_prior = estimate.map_from_odom is None  # of the search
            predicted = None if is_prior else self.predict(result.stamp_ns)
            is_doubtful = must_track is not None and must_track(predicted)
            if is_followed and (is_doubtful or self._estimator.awaits_tracking(result.stamp_ns)):
                self._withheld_ns = result.stamp_ns
            else:
                self._publish_followed(estimate)
            self._join_anchors(result.stamp_ns)
            return estimate

    def join_anchors(self) -> None:
        """Join anchors that have arrived without a new frame; in mode ``hloc`` they are published at once."""
        with self._lock:
            self._join_anchors(self._guard.last_ns or 0)

    def published_at(self, stamp_ns: int) -> Estimate | None:
        """The published output of the newest frame, if it is of this stamp."""
        with self._lock:
            return self.latest if self.latest.stamp_ns == stamp_ns else None

    def take_accepted(self) -> Sequence[Anchor]:
        """Anchors accepted since the last call, or PENDING: their points are to be followed."""
        with self._lock:
            accepted = tuple(self._accepted)
            self._accepted.clear()
            return accepted

    def add_tracked(self, result: TrackedPose | Rejection) -> Verdict:
        """Join the followed map points of a frame."""
        with self._lock:
            self._inputs.append(Input(InputKind.TRACKED_POSE, result.stamp_ns))
            verdict = self._estimator.add_tracked(self._frame.own_tracked(self._of_this_frame(result)))
            self._listener.on_tracked(result, verdict)
            self._tell_innovations()
            if result.stamp_ns == self._withheld_ns:
                self._publish_withheld()
            return verdict

    def add_loop(self, loop: LoopClosure) -> Verdict:
        """Join a place that odometry has seen before."""
        with self._lock:
            self._inputs.append(Input(InputKind.LOOP, loop.later_ns))
            verdict = self._estimator.add_loop(loop)
            self._listener.on_loop(loop, verdict)
            return verdict

    def add_prior(self, prior: BasePrior) -> bool:
        """Take a pose prior; it waits until a frame has come and the camera's place on the base is known.

        An impossible one is left out: false.
        """
        with self._lock:
            self._inputs.append(Input(InputKind.POSE_PRIOR, prior.stamp_ns))
            if not is_valid_prior(prior.map_from_base, prior.covariance):
                self.refused["implausible pose prior"] += 1
                _log.warning("the pose prior from %s is left out: its numbers cannot be", prior.source)
                return False
            self._prior = prior
            self._apply_prior()
            return True

    def use_map(self, identity: MapIdentity, stamp_ns: int = 0, *, is_requested: bool = True) -> bool:
        """Give poses in this map from the next frame on; False, and nothing changes, for one that was not requested.

        It may have the frame of the map in use, or be the first one, all the same. Where the transform between their
        frames is known the pose goes on in the new one; else the localization starts again, and ``odom`` goes on.
        """
        with self._lock:
            self._inputs.append(Input(InputKind.MAP, stamp_ns))
            is_first = self._map is None or self._map.shares_frame(identity)
            if not is_first and not is_requested:
                self.refused["map in another frame than the one in use"] += 1
                return False
            self._follow_map(identity)
            return True

    def change_camera(self, stamp_ns: int, mount: Mount) -> None:
        """Follow another camera of the body, which is there, from its frame with this stamp on.

        Its search begins at the last pose, and ``odom`` goes on.
        """
        with self._lock:
            self._publish_withheld()
            self._mount = mount
            before, now = self._mounted, mount()
            camera_from_other = None if before is None or now is None else before.inverse @ now
            self._estimator.change_camera(self._frame.own_step(camera_from_other))
            self._tell_settled()
            self._continuity.reset()
            self._motion.reset()
            self._accepted.clear()
            last = self._last
            if last is not None and self._prior is None:
                moved = unobserved_motion_covariance((stamp_ns - last.stamp_ns) / NANOSECONDS)
                self._prior = replace(last, covariance=last.covariance + moved)

    def handed_over(self, stamp_ns: int, mount: Mount, anchors: AnchorRunner, listener: BackendListener) -> Backend:
        """The back end of another camera of the body, which goes on from this one, that ends, as ``change_camera``."""
        with self._lock:
            other = Backend(self._config, anchors, mount, listener)
            other._estimator, other._map, other._frame = self._estimator, self._map, self._frame
            other._odom_from_camera, other._since_ns = self._odom_from_camera, self._since_ns
            other._mounted, other._last = self._mounted, self._last
            other.change_camera(stamp_ns, mount)
            return other

    def relocalize(self) -> None:
        """Forget the place in the map and every prior; agreeing anchors set it again, and ``odom`` goes on."""
        with self._lock:
            self._inputs.append(Input(InputKind.RELOCALIZE))
            self._prior = self._last = None
            self._forget_place()

    def predict(self, stamp_ns: int) -> SE3 | None:
        """``map_from_camera`` expected at the stamp of a frame, or None."""
        with self._lock:
            return self._frame.pose(self._estimator.predict(stamp_ns))

    def expected(self) -> PosePrior | None:
        """Prior of a search for the newest frame before there is a fix."""
        with self._lock:
            return self._frame.prior(self._estimator.search_prior)

    def search(self, frame: Frame) -> None:
        """Have a frame searched in the map if the search is idle; it replaces one that waits."""
        with self._lock:
            if self._anchors.is_idle(frame.stamp_ns):
                self._anchors.submit(frame, self.predict(frame.stamp_ns))

    def watch(self, now_ns: int) -> None:
        """Publish the loss when no more frames come; to be called regularly.

        ``now_ns`` is of a clock that goes on without frames.
        """
        with self._lock:
            self.join_anchors()
            if self._is_heard:
                self._is_heard, self._heard_ns = False, now_ns
            silence_ns = now_ns - self._heard_ns
            if self._guard.last_ns is not None and silence_ns > self._config.silence_s * NANOSECONDS:
                self.report_silence(self._guard.last_ns + silence_ns)

    def report_silence(self, stamp_ns: int) -> None:
        """Publish the state after a loss, at a stamp without a frame."""
        with self._lock:
            self._publish_withheld()
            self._inputs.append(Input(InputKind.SILENCE, stamp_ns))
            self._publish(replace(self._estimate(stamp_ns), reason=self._silence))

    def close(self) -> None:
        """Stop the search."""
        self._anchors.close()

    def _accept_stamp(self, stamp_ns: int) -> bool:
        before_ns, verdict = self._guard.last_ns, self._guard.judge(stamp_ns)
        if verdict is StampVerdict.UNORDERED:
            self.refused[verdict.value] += 1
            return False
        if verdict is StampVerdict.CLOCK_JUMP:
            _log.warning("the clock jumped back: everything starts again")
            self._estimator.reset()
            self._frame, self._odom_from_camera, self._since_ns = FrameTransform.identity(), None, 0
            self._take_properties()
            self._output.reset()
            self._motion.reset()
            self._continuity.reset()
            self._judged.clear()
            self._frozen_ns.clear()
            self._withheld_ns, self._ended_ns, self._last = None, before_ns, None
            self._listener.on_clock_jump()
        self._is_heard = True
        return True

    def _join_anchors(self, now_ns: int) -> None:
        for anchor in self._anchors.finished(now_ns):
            self._inputs.append(Input(InputKind.ANCHOR, anchor.result.stamp_ns))
            if self._is_of_ended_run(anchor.result.stamp_ns):
                self.refused["anchor from before the clock jumped"] += 1
                continue
            if self._is_anchors_only and not self._accept_stamp(anchor.result.stamp_ns):
                continue  # after a jump of the clock the same stamps are new
            if self._is_repeated(anchor):
                self.refused["repeated anchor"] += 1
                continue
            in_use = self._in_use(anchor)
            if in_use is None:
                self.refused["anchor in another frame than the map in use"] += 1
                continue
            verdict: Verdict
            if anchor.result.stamp_ns in self._frozen_ns:
                verdict = Rejection(anchor.result.stamp_ns, Reason.FROZEN)
            else:
                verdict = self._estimator.add_anchor(self._frame.own_anchor(in_use.result))
            if verdict is PENDING:
                self._pending[anchor.result.stamp_ns] = in_use
            if not isinstance(verdict, Rejection):
                self._accepted.append(in_use)
            self._tell_settled()  # of earlier images
            self._listener.on_anchor(in_use, verdict)
            if self._is_anchors_only:
                self._publish(self._estimate(anchor.result.stamp_ns))
        self._tell_innovations()

    def _is_of_ended_run(self, stamp_ns: int) -> bool:
        """Whether an anchor is of an image before a jump of the clock, with a search that ended after it.

        No image after the jump has such a stamp yet. Where anchors alone are used, they arrive in order.
        """
        newest_ns, ended_ns = self._guard.last_ns, self._ended_ns
        if self._is_anchors_only or ended_ns is None or newest_ns is None:
            return False
        return newest_ns < stamp_ns <= ended_ns

    def _is_repeated(self, anchor: Anchor) -> bool:
        """Whether a search of the same image in the same map has been judged: delivered again it adds nothing."""
        key = anchor.map.name, anchor.map.frame, anchor.result.stamp_ns
        is_known = key in self._judged
        self._judged.append(key)
        return is_known

    def _in_use(self, anchor: Anchor) -> Anchor | None:
        """An anchor in the frame of the map in use, which the first one determines; None where it cannot be moved."""
        if self._map is None:
            self._follow_map(anchor.map)
        assert self._map is not None
        if self._map.shares_frame(anchor.map):
            return anchor
        moved_from_map = self._map.from_map(anchor.map)
        if moved_from_map is None:
            return None
        result = anchor.result
        return Anchor(moved_anchor(result, moved_from_map) if isinstance(result, AnchorPose) else result, self._map)

    def _of_this_frame(self, tracked: TrackedPose | Rejection) -> TrackedPose | Rejection:
        """The same; OTHER_FRAME for a pose in the frame of a map that is not in use."""
        frame = None if self._map is None else self._map.frame
        if isinstance(tracked, Rejection) or tracked.frame is None or frame is None or tracked.frame == frame:
            return tracked
        return Rejection(tracked.stamp_ns, Reason.OTHER_FRAME)

    def _follow_map(self, identity: MapIdentity) -> None:
        """Give poses in this map from now on, and move what is known into its frame, or forget it."""
        before = self._map
        if identity == before:
            if identity.frame is not None and identity.frame.frame_from_earlier:  # which anchors do not carry
                self._map = identity
            return
        if before is not None and not identity.shares_frame(before):
            self._publish_withheld()  # in the frame before
            self._map, self._since_ns = identity, (self._guard.last_ns or 0) + 1
            self._change_frame(identity.from_map(before))
        else:
            self._map = identity
        if before is None:
            self._take_properties()
            if self._prior is None and self._estimator.pose_prior is None:
                self._prior = self._listener.prior_of_map(identity)
        self._listener.on_map(identity, self._since_ns)

    def _change_frame(self, moved_from_map: Sim3 | None) -> None:
        """Move what is known into another frame; None: forget it."""
        self._motion.reset()
        self._output.change_frame()
        self._accepted.clear()
        if moved_from_map is None:
            self._prior = self._last = None
            self._forget_place()
            return
        self._frame = self._frame.moved(moved_from_map, self._odom_from_camera)
        self._prior = None if self._prior is None else self._prior.moved(moved_from_map)
        self._last = None if self._last is None else self._last.moved(moved_from_map)

    def _forget_place(self) -> None:
        """Start the localization again in the frame and the units of the map in use; ``odom`` goes on."""
        self._estimator.relocalize()
        self._frame = self._frame.restarted(self._odom_from_camera)
        self._take_properties()

    def _take_properties(self) -> None:
        if self._map is not None:
            self._estimator.metric, self._estimator.gravity_aligned = self._map.metric, self._map.gravity_aligned

    def _estimate(self, stamp_ns: int) -> Estimate:
        """The estimate of the newest frame in the map in use."""
        return self._frame.estimate(self._estimator.estimate(stamp_ns), self._map is not None and self._map.metric)

    def _apply_prior(self) -> None:
        """Give a prior to the estimator as soon as the camera's place on the base is known."""
        newest_ns = self._guard.last_ns
        if self._prior is None or newest_ns is None:
            return
        base_from_camera = self._mount()
        if base_from_camera is None:
            return
        prior, self._prior = self._prior, None
        in_own_frame = self._frame.own_pose(*prior.of_camera(base_from_camera))
        is_used = self._estimator.set_initial_pose(newest_ns, *in_own_frame)
        what = "the search begins around it" if is_used else "the pose agrees with it and stays"
        _log.info("pose prior from %s: %s", prior.source, what)

    def _carry_on(self, missed: Rejection) -> Estimate | None:
        """Publish the newest pose carried on to a frame that was not followed, or its reason for having none.

        None where a FROZEN camera has no pose any more: it has ended what was known of its motion.
        """
        is_known = self._estimator.raw_map_from_odom is not None  # it may have been forgotten since
        carried = self._motion.at(missed.stamp_ns, missed.reason) if is_known else None
        if carried is None and missed.reason is Reason.FROZEN:
            return None
        estimate = carried or replace(self._estimate(missed.stamp_ns), reason=missed.reason)
        self._publish(estimate)
        return estimate

    def _publish_followed(self, estimate: Estimate) -> None:
        self._publish(self._motion.add(estimate))

    def _publish(self, estimate: Estimate) -> None:
        self._odom_from_camera = estimate.odom_from_camera or self._odom_from_camera
        base_from_camera = self._mount()
        if base_from_camera is None:
            self.refused[Reason.NO_TRANSFORM.value] += 1
            self.latest = _of_no_robot(estimate)
            published = Published(self.latest)
        else:
            self.latest = estimate
            raw_map_from_odom = self._frame.correction(self._estimator.raw_map_from_odom)
            published = self._output.publish(estimate, raw_map_from_odom, base_from_camera)
            self._mounted = base_from_camera
            if published.pose is not None and estimate.state is State.LOCALIZED:
                pose = published.pose
                self._last = BasePrior("the camera before", pose.map_from_base, pose.covariance, estimate.stamp_ns)
        inputs, self._inputs = tuple(self._inputs), []
        self._listener.on_published(replace(published, inputs=inputs))

    def _publish_withheld(self) -> None:
        """Publish the frame that waits for its tracked map points, with or without them."""
        if self._withheld_ns is not None:
            stamp_ns, self._withheld_ns = self._withheld_ns, None
            self._publish_followed(self._estimate(stamp_ns))

    def _tell_settled(self) -> None:
        """Report the verdicts on anchors that were pending."""
        for result, verdict in self._estimator.take_settled():
            anchor = self._pending.pop(result.stamp_ns, None)
            if anchor is not None:
                self._listener.on_anchor(anchor, verdict)

    def _tell_innovations(self) -> None:
        for innovation in self._estimator.take_innovations():
            self._listener.on_innovation(self._frame.innovation(innovation))


def _of_no_robot(estimate: Estimate) -> Estimate:
    """The estimate of a camera whose place on the base is not known: the robot has no pose, although the camera may."""
    state = State.INITIALIZING if estimate.state in (State.LOCALIZED, State.DEGRADED) else estimate.state
    return replace(estimate, state=state, reason=Reason.NO_TRANSFORM)
