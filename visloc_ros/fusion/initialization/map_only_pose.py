"""The pose by the map alone, until odometry gives one: odometry needs motion to begin, and then a scale.

Anchors found during a standstill have one pose; those of a moving camera are linked where the image of one shows the
points of the one before, which needs no parallax. After a wrong anchor, the next image does not show its points where
they should be. Anchors must agree as those of a first fix must. Once they do, map points followed from them carry the
pose on, and later anchors must agree with these.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from visloc_ros.core.geometry import SE3, Array, carried_on, rotation_angle_deg
from visloc_ros.core.recent_motion import unobserved_motion_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import ACCEPTED, AnchorPose, Reason, Rejection, TrackedPose, Verdict
from visloc_ros.fusion.anchor_fix import make_fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.initialization.alignment_search import FirstFix
from visloc_ros.fusion.initialization.pose_prior import PosePrior, StampedPosePrior
from visloc_ros.fusion.initialization.sim3_alignment import ScalePrior
from visloc_ros.fusion.odometry_model.history import OdometrySample

STILL_TRANSLATION, STILL_DEG = 2e-3, 0.1
"""Largest motion that odometry may show of a camera at rest: in its units, about the scene's depth, and in degrees."""
MOST_ANCHORS = 16
KEPT_NS = 5 * NANOSECONDS
"""Time for which tracked poses are kept for the late anchors of their frames."""
LONGEST_GAP_NS = 200_000_000
"""Time without any point found after which the camera may be anywhere."""
_LONGEST_CHANGE_NS = NANOSECONDS // 2
"""Time for which an image of a camera that leads from now on is waited for: its points were followed all along."""
KNOWN_SCALE = ScalePrior(0.0, 1e-3)
"""Scale of a motion in map units, or of no motion."""
UNSEGMENTED = -1
"""Segment of samples without odometry: a pose prior has no motion to these."""


@dataclass(frozen=True, eq=False)
class MapOnlyEstimate:
    """``map_from_camera`` of a frame with its covariance (6, 6), and what it rests on.

    ``motion`` is ``camera_from_camera`` since the frame before, in map units, None where it is not known, with its
    covariance (6, 6), None where it was not measured. ``num_anchors`` agree; the newest of them is of ``newest_ns``,
    and the camera has gone ``distance`` since. ``is_contradicted`` where the last one disagrees.
    """

    stamp_ns: int
    map_from_camera: SE3
    covariance: Array
    motion: SE3 | None
    motion_covariance: Array | None
    num_anchors: int
    newest_ns: int
    distance: float
    is_tracked: bool
    is_contradicted: bool
    probability: float | None


@dataclass
class _Rest:
    """A standstill since a frame: the odometry there, and the pose that its anchors agree on."""

    search: FirstFix
    begin_ns: int
    sample: OdometrySample | None = None
    known: deque[int] = field(default_factory=lambda: deque(maxlen=4 * MOST_ANCHORS))
    pose: PosePrior | None = None


class MapOnlyPose:
    """Estimates the pose from anchors, tracked poses, and whether the camera stands still at each frame."""

    def __init__(self, config: FusionConfig) -> None:
        self._config = config
        self._first_fix: LinkedFirstFix | None = None
        self._newest_anchor_ns: int | None = None
        self.end()

    def end(self) -> None:
        """Forget everything; the next pose needs agreeing anchors again."""
        self._rest: _Rest | None = None
        self._agreeing: dict[int, AnchorPose] = {}
        self._is_contradicted = False
        self._unlinked: AnchorPose | None = None  # the newest anchor, while others agree
        self._tracked: dict[int, TrackedPose] = {}
        self._found_ns = deque[int](maxlen=2)  # the last frames whose pose is measured, not carried on
        self._before_ns, self._newest_ns = 0, 0
        self._led: tuple[int, PosePrior] | None = None  # the last frame whose pose odometry gave
        self._changed_ns: int | None = None  # when another camera began to lead

    def lead(self, stamp_ns: int, pose: PosePrior) -> None:
        """Note that odometry gives a frame's pose: anchors that agree with it may carry the pose on when it ends."""
        self._rest, self._first_fix, self._is_contradicted = None, None, False
        self._before_ns, self._newest_ns = self._newest_ns, stamp_ns
        self._led = stamp_ns, pose

    def change_camera(self, camera_from_other: SE3, *, is_odometry_wrong: bool = False) -> None:
        """Go on with another camera on the body, in whose images the same anchors' points are followed.

        Where these contradicted the odometry before, its last pose is not taken.
        """
        self._rest, self._first_fix, self._unlinked, self._changed_ns = None, None, None, self._newest_ns
        self._led = None if is_odometry_wrong else self._led
        self._agreeing = {stamp_ns: one.of_other(camera_from_other) for stamp_ns, one in self._agreeing.items()}
        self._tracked = {stamp_ns: one.of_other(camera_from_other) for stamp_ns, one in self._tracked.items()}
        if self._led is not None:
            self._led = self._led[0], self._led[1].of_other(camera_from_other)

    def agree(self, anchor: AnchorPose) -> None:
        """Add an anchor that agrees with the known pose."""
        self._agreeing[anchor.stamp_ns] = anchor
        while len(self._agreeing) > MOST_ANCHORS:
            del self._agreeing[min(self._agreeing)]

    def advance(self, stamp_ns: int, sample: OdometrySample | None, stands: bool) -> None:
        """Go on to a frame whose pose odometry does not give; ``sample`` is its odometry, of unknown scale.

        The camera ``stands`` by its images, or by its odometry. Once it moves, or may have moved, only tracked poses
        carry the pose on.
        """
        rest = self._rest
        if sample is not None and rest is not None and rest.sample is not None:
            stands = stands or _is_still(rest.sample, sample)
        self._take_over()
        if not stands and self._newest_ns not in self._tracked and not self._has_just_changed(stamp_ns):
            self.end()
        if not stands:
            self._rest = None
        if self._rest is None and (stands or sample is not None):
            self._rest = _Rest(FirstFix(self._config), stamp_ns, sample)
        self._before_ns, self._newest_ns = self._newest_ns, stamp_ns

    def take(self, anchor: AnchorPose, pose_prior: StampedPosePrior | None) -> Rejection | None:
        """Add an anchor; ODOMETRY_DISAGREES where it contradicts the tracked pose of its frame."""
        tracked, rest = self._tracked.get(anchor.stamp_ns), self._rest
        is_known = anchor.stamp_ns in self._agreeing
        self._unlinked = None if is_known else anchor
        if tracked is not None and not is_known and not self._confirms(anchor, tracked):
            return Rejection(anchor.stamp_ns, Reason.ODOMETRY_DISAGREES)
        if rest is not None and rest.begin_ns <= anchor.stamp_ns <= self._newest_ns:
            self._take_at_rest(rest, anchor, pose_prior)
        is_new = self._newest_anchor_ns is None or anchor.stamp_ns > self._newest_anchor_ns
        if is_new and not self._agreeing:  # it arrives repeatedly while it waits for odometry
            self._newest_anchor_ns = anchor.stamp_ns
            self._first_fix = self._first_fix or LinkedFirstFix(self._config)
            self._first_fix.take(anchor, pose_prior)
        return None

    def follow(self, tracked: TrackedPose) -> Verdict:
        """Add the tracked pose of the newest frame, or one that links an anchor to the one before.

        Refused: STALE, its anchor is none of those that agree; ODOMETRY_DISAGREES, its link contradicts the anchor.
        """
        if self._first_fix is not None:
            agreeing = self._first_fix.link(tracked)
            if agreeing:
                self._agreeing, self._first_fix = {one.stamp_ns: one for one in agreeing}, None
        if tracked.anchor_stamp_ns not in self._agreeing:
            return Rejection(tracked.stamp_ns, Reason.STALE)
        linked = self._unlinked if self._unlinked and self._unlinked.stamp_ns == tracked.stamp_ns else None
        if linked is not None and linked.stamp_ns not in self._agreeing and not self._confirms(linked, tracked):
            return Rejection(tracked.stamp_ns, Reason.ODOMETRY_DISAGREES)
        if tracked.stamp_ns == self._newest_ns:
            self._found_ns.append(tracked.stamp_ns)
            self._tracked[tracked.stamp_ns] = tracked
            while (oldest_ns := next(iter(self._tracked))) < tracked.stamp_ns - KEPT_NS:
                del self._tracked[oldest_ns]
        return ACCEPTED

    def miss(self, stamp_ns: int) -> None:
        """Note that the newest frame shows no followed points: for a moment the last motion is continued."""
        found = [self._tracked[one] for one in self._found_ns if one in self._tracked]
        if stamp_ns != self._newest_ns or len(found) < 2 or self._before_ns not in self._tracked:
            return
        earlier, last = found
        if stamp_ns - last.stamp_ns > LONGEST_GAP_NS:
            return
        seconds = (stamp_ns - last.stamp_ns) / NANOSECONDS
        ratio = (stamp_ns - last.stamp_ns) / (last.stamp_ns - earlier.stamp_ns)
        growth = unobserved_motion_covariance(seconds)
        self._tracked[stamp_ns] = replace(
            last,
            stamp_ns=stamp_ns,
            map_from_camera=carried_on(earlier.map_from_camera, last.map_from_camera, ratio),
            covariance=last.covariance + growth,
            covariance_since_anchor=last.covariance_since_anchor + growth,
        )

    def awaits_tracking(self, stamp_ns: int) -> bool:
        """Whether the pose of the newest frame comes with the map points followed into it, if these are found."""
        goes_on = bool(self._tracked) and self._has_just_changed(stamp_ns)
        was_followed = stamp_ns == self._newest_ns and self._before_ns in self._tracked
        return (goes_on or was_followed) and self.pose_at(stamp_ns) is None

    def was_followed_lately(self, stamp_ns: int) -> bool:
        """Whether map points were followed shortly before a stamp; there may be no time for those of each frame."""
        newest_ns = next(reversed(self._tracked), None)
        return newest_ns is not None and newest_ns < stamp_ns <= newest_ns + KEPT_NS

    def pose_at(self, stamp_ns: int) -> MapOnlyEstimate | None:
        """The pose of the newest frame, None while it is not known."""
        tracked = self._tracked.get(stamp_ns)
        known = None if self._rest is None else self._rest.pose
        if known is None and tracked is not None:
            known = PosePrior(tracked.map_from_camera, tracked.covariance)
        if known is None or stamp_ns != self._newest_ns or not self._agreeing:
            return None
        newest_ns = max(self._agreeing)
        motion, motion_covariance = self._motion_to(stamp_ns)
        return MapOnlyEstimate(
            stamp_ns,
            known.map_from_camera,
            known.covariance,
            motion,
            motion_covariance,
            len(self._agreeing),
            newest_ns,
            self._distance_since(newest_ns),
            tracked is not None,
            self._is_contradicted,
            self._agreeing[newest_ns].probability,
        )

    def _has_just_changed(self, stamp_ns: int) -> bool:
        return self._changed_ns is not None and stamp_ns - self._changed_ns <= _LONGEST_CHANGE_NS

    def _take_over(self) -> None:
        """Take the pose by odometry of the last frame as tracked, where points hold it: not all frames are tracked."""
        led, last = self._led, next(reversed(self._tracked.values()), None)
        if led is None or last is None or led[0] != self._newest_ns or led[0] <= last.stamp_ns:
            return
        stamp_ns, pose = led
        if stamp_ns - last.stamp_ns <= LONGEST_GAP_NS:
            covariance = pose.covariance
            self._found_ns.append(stamp_ns)
            self._tracked[stamp_ns] = replace(
                last,
                stamp_ns=stamp_ns,
                map_from_camera=pose.map_from_camera,
                covariance=covariance,
                covariance_since_anchor=covariance,
            )

    def _confirms(self, anchor: AnchorPose, tracked: TrackedPose) -> bool:
        """Whether an anchor agrees with the tracked pose of its frame; the second in a row that does not ends all."""
        prior = PosePrior(tracked.map_from_camera, tracked.covariance)
        if prior.is_consistent_with(anchor.map_from_camera, anchor.covariance):
            self.agree(anchor)
            self._is_contradicted = False
            return True
        if self._is_contradicted:
            self.end()
        self._is_contradicted = True
        return False

    def _take_at_rest(self, rest: _Rest, anchor: AnchorPose, pose_prior: StampedPosePrior | None) -> None:
        if anchor.stamp_ns in rest.known:
            return
        rest.known.append(anchor.stamp_ns)
        fix = make_fix(OdometrySample(anchor.stamp_ns, UNSEGMENTED, SE3.identity()), anchor, self._config.anchor_noise)
        hypothesis = rest.search.take(fix, KNOWN_SCALE, pose_prior)
        if hypothesis is None:
            rest.pose = None
            return
        best = min((one.covariance + one.map_covariance for one in hypothesis.fixes), key=np.trace)
        # Anchors of one view share most of their errors: many of them are hardly more certain than one.
        rest.pose = PosePrior(SE3(hypothesis.map_from_odom.rotation, hypothesis.map_from_odom.translation), best)
        self._agreeing = {one.stamp_ns: one.anchor for one in hypothesis.fixes}
        self._is_contradicted = fix not in hypothesis.fixes

    def _motion_to(self, stamp_ns: int) -> tuple[SE3 | None, Array | None]:
        """``camera_from_camera`` since the frame before, with its covariance where it was measured."""
        before, after = self._tracked.get(self._before_ns), self._tracked.get(stamp_ns)
        if self._rest is not None and self._rest.begin_ns < stamp_ns:
            return SE3.identity(), np.zeros((6, 6))
        if before is None or after is None:
            return None, None
        if before.anchor_stamp_ns != after.anchor_stamp_ns:  # these points would add the two anchors' difference
            return self._continued(before, stamp_ns), None
        covariance = before.covariance_since_anchor + after.covariance_since_anchor
        return before.map_from_camera.inverse @ after.map_from_camera, covariance

    def _continued(self, last: TrackedPose, stamp_ns: int) -> SE3 | None:
        """``camera_from_camera`` since the last pose at the velocity that led to it."""
        earlier = next((one for one in reversed(self._tracked.values()) if one.stamp_ns < last.stamp_ns), None)
        if earlier is None or earlier.anchor_stamp_ns != last.anchor_stamp_ns:
            return None
        interval_ns = last.stamp_ns - earlier.stamp_ns
        if interval_ns > LONGEST_GAP_NS:
            return None
        ratio = (stamp_ns - last.stamp_ns) / interval_ns
        return last.map_from_camera.inverse @ carried_on(earlier.map_from_camera, last.map_from_camera, ratio)

    def _distance_since(self, stamp_ns: int) -> float:
        places = [one.map_from_camera.translation for one in self._tracked.values() if one.stamp_ns >= stamp_ns]
        return float(sum(np.linalg.norm(b - a) for a, b in pairwise(places)))


def _is_still(before: OdometrySample, after: OdometrySample) -> bool:
    if before.segment != after.segment:
        return False
    start, end = before.odom_from_camera, after.odom_from_camera
    moved = float(np.linalg.norm(end.translation - start.translation))
    return moved <= STILL_TRANSLATION and rotation_angle_deg(start.rotation, end.rotation) <= STILL_DEG


class LinkedFirstFix:
    """Collects anchors, each linked to the one before: the tracked pose of its image by the points of that one."""

    def __init__(self, config: FusionConfig) -> None:
        self._config = config
        self._anchors: dict[int, AnchorPose] = {}
        self._places: dict[int, SE3] = {}  # of the anchors, where the links lead from the first one's pose
        self._unlinked: tuple[AnchorPose, StampedPosePrior | None] | None = None

    def take(self, anchor: AnchorPose, pose_prior: StampedPosePrior | None) -> None:
        """Add an anchor, whose link may follow; where the last one got none, the search begins with that one."""
        if self._unlinked is not None:
            self._begin(*self._unlinked)
        if self._anchors:
            self._unlinked = anchor, pose_prior
        else:
            self._begin(anchor, pose_prior)

    def link(self, tracked: TrackedPose) -> Sequence[AnchorPose]:
        """Link the last anchor to the one before; returns the anchors that agree, once they suffice."""
        before = self._anchors.get(tracked.anchor_stamp_ns)
        if before is None or self._unlinked is None or self._unlinked[0].stamp_ns != tracked.stamp_ns:
            return ()
        (anchor, pose_prior), self._unlinked = self._unlinked, None
        motion = before.map_from_camera.inverse @ tracked.map_from_camera
        return self._add(anchor, self._places[before.stamp_ns] @ motion, pose_prior)

    def _begin(self, anchor: AnchorPose, pose_prior: StampedPosePrior | None) -> None:
        self._search, self._unlinked = FirstFix(self._config), None
        self._anchors.clear()
        self._places.clear()
        self._add(anchor, anchor.map_from_camera, pose_prior)

    def _add(self, anchor: AnchorPose, place: SE3, pose_prior: StampedPosePrior | None) -> Sequence[AnchorPose]:
        self._anchors[anchor.stamp_ns], self._places[anchor.stamp_ns] = anchor, place
        sample = OdometrySample(anchor.stamp_ns, UNSEGMENTED, place)
        fix = make_fix(sample, anchor, self._config.anchor_noise)
        hypothesis = self._search.take(fix, KNOWN_SCALE, pose_prior)
        return () if hypothesis is None else [one.anchor for one in hypothesis.fixes]
