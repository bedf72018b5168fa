"""Which cameras of a rig agree about the pose, and which one is wrong where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import axes_jacobian, pose_difference, turn_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.map_tracking.rig.joint_pose import PoseByCamera
from visloc_ros.map_tracking.tracker import FARTHEST

_RECENT_NS = NANOSECONDS // 2  # for which another camera has seen the map: its next image will tell
_UNDECIDED = 3  # contradictions in a row of which nothing shows which camera is wrong: then it is the one beside
_KEPT = 0.95  # of the memory of a camera's disagreement with the others, by frame


@dataclass(frozen=True, eq=False)
class OwnPose:
    """``map_from_camera`` of one camera by its own image, with the covariance (6, 6) of the motion since its anchor."""

    map_from_camera: SE3
    covariance: Array

    def has_moved(self, before: OwnPose) -> bool:
        """Whether the camera has certainly moved since an earlier pose."""
        step = pose_difference(self.map_from_camera, before.map_from_camera)
        return bool(step @ np.linalg.solve(self.covariance + before.covariance, step) > FARTHEST)


@dataclass(frozen=True, eq=False)
class ExpectedPose:
    """``map_from_camera`` of the leading camera by the motion so far, with its covariance (6, 6).

    ``is_known`` is whether the motion so far, or odometry, shows where it leads, ``odometry_agrees`` whether odometry
    is known to have moved so, too, ``odometry_leaps`` whether its newest pose is a leap.
    """

    map_from_camera: SE3
    covariance: Array
    is_known: bool = True
    odometry_agrees: bool = False
    odometry_leaps: bool = False

    def is_nearer_to(self, pose: SE3, covariance: Array, camera_from_other: SE3) -> bool:
        """Whether a pose with a covariance (6, 6) is nearer to this one than to that of another camera of the rig."""
        steps = [pose_difference(pose, one) for one in (self.map_from_camera, self.map_from_camera @ camera_from_other)]
        to_this, to_other = (step @ np.linalg.solve(self.covariance + covariance, step) for step in steps)
        return bool(to_this < to_other)


@dataclass(eq=False)
class _Record:
    """What is known of one camera: where it was when it last agreed, and how much it differs from the others.

    ``has_moved`` is whether it certainly has since, ``moves`` whether it has since its ``last`` pose. ``is_unseen`` is
    whether its anchor was not found in its own image, ``seen_ns`` the stamp of the newest frame in which it saw the
    map, None if its newest image does not show it.
    """

    is_trusted: bool = True
    before: OwnPose | None = None
    has_moved: bool = True
    last: OwnPose | None = None
    moves: bool = True
    is_unseen: bool = False
    seen_ns: int | None = None
    number: float = 0.0
    squared: float = 0.0
    scatter: Array = field(default_factory=lambda: np.zeros((6, 6)))  # about the axes of the leading camera

    @property
    def excess(self) -> Array:
        """Covariance (6, 6) by which it differs more than it claims (random effects, DerSimonian and Laird 1986)."""
        freedom = 6.0 * self.number
        if self.squared <= freedom:
            return np.zeros((6, 6))
        return (1.0 - freedom / self.squared) / self.number * self.scatter

    def learn(self, pose: PoseByCamera, lead: PoseByCamera, anchor: Array) -> None:
        """Add the difference of the camera's pose from the leading one's."""
        step = axes_jacobian(lead.map_from_camera.rotation.T) @ pose_difference(
            pose.map_from_camera, lead.map_from_camera
        )
        self.number = _KEPT * self.number + 1.0
        self.squared = _KEPT * self.squared + pose.squared_distance(lead, anchor)
        self.scatter = _KEPT * self.scatter + np.outer(step, step)


class Agreement:
    """Judges the cameras of each frame; a camera that contradicts the others is left out until it agrees in motion.

    Of two that contradict each other the one is wrong that stands while the other one moves, that is not where the
    motion so far leads, or whose anchor only others saw: what a camera sees may freeze, and nothing makes it move by
    itself. Where nothing shows which, or one thing the contrary of another, there is no pose, and the motion is judged
    from there on; after some such frames the leading camera is believed. Nor is there a pose by one camera alone from
    where it has left the motion so far, until another one has seen the map again: what stands still by a fault would
    soon be the motion so far. Nor is there one by a camera beside that leaves it alone while odometry does not, nor
    where odometry leaves it and the images of the others are older than that.
    """

    def __init__(self, leading: str) -> None:
        self.leading = leading
        self._records: dict[str, _Record] = {}
        self.is_astray = False
        """Whether, in the newest frame, one camera alone is not where the motion so far leads."""
        self._undecided, self._is_in_doubt = 0, False
        self._strayed: set[str] = set()  # cameras that left the motion so far alone: it has become theirs
        self._standing, self._standing_ns = 0, 0  # images in a row
        self._agreed_ns: int | None = None  # when two cameras last agreed, or judging began

    def is_trusted(self, name: str) -> bool:
        """Whether a camera has not contradicted the others since it last agreed with them."""
        return self._record(name).is_trusted

    def lead(self, name: str) -> None:
        """Another camera leads: it is trusted, since none is left that contradicts it."""
        self.leading, self._record(name).is_trusted = name, True
        self._standing, self._undecided, self._is_in_doubt, self._strayed = 0, 0, False, set()

    def distrust(self, name: str) -> None:
        """Leave a camera out from now on."""
        self._record(name).is_trusted = False

    def judge_images(self, stamp_ns: int, moving: str | None) -> None:
        """Take which camera shows a motion while what the leading one shows stands still, by the images alone.

        A camera whose clock is late shows a motion after the robot has stopped, but not for long.
        """
        self._agreed_ns = stamp_ns if self._agreed_ns is None else self._agreed_ns
        self._standing = self._standing + 1 if moving else 0
        self._standing_ns = stamp_ns
        if moving and self._standing >= _UNDECIDED:
            self._record(self.leading).is_trusted, self._record(moving).is_trusted = False, True

    def unconfirmed_s(self, stamp_ns: int) -> float:
        """How long no two cameras have agreed, or since they are judged, in seconds."""
        return 0.0 if self._agreed_ns is None else (stamp_ns - self._agreed_ns) / NANOSECONDS

    def is_standing(self, stamp_ns: int) -> bool:
        """Whether what the leading camera shows has just stood still while what another one shows moved."""
        return self._standing > 0 and stamp_ns - self._standing_ns < _RECENT_NS

    def others_see(self, name: str, stamp_ns: int) -> bool:
        """Whether another trusted camera has just seen the map, so that its next image will tell."""
        others = (record for other, record in self._records.items() if other != name and record.is_trusted)
        return any(other.seen_ns is not None and stamp_ns - other.seen_ns < _RECENT_NS for other in others)

    def restart(self, name: str, anchored: SE3, *, is_seen: bool | None) -> None:
        """Judge the motion of a camera from where it was at another anchor on, which ``is_seen`` in its own image.

        Of an anchor that others saw a camera follows what its image should show, whatever that is. None: not known. One
        that was left out may be trusted again if no other one sees the map: what sticks shows the map, too.
        """
        record = self._record(name)
        record.before, record.is_unseen = OwnPose(anchored, np.zeros((6, 6))), is_seen is False
        record.is_trusted = record.is_trusted or (is_seen is True and self._is_alone(name))

    def lost(self, name: str) -> None:
        """The newest image of a camera does not show the map: it confirms no other one."""
        self._record(name).seen_ns = None

    @property
    def needs_others(self) -> bool:
        """Whether another camera is to show soon whether the leading one moves."""
        leading = self._record(self.leading)
        return self._is_in_doubt or not (leading.has_moved and leading.moves)

    def choose(
        self,
        stamp_ns: int,
        poses: Mapping[str, PoseByCamera],
        own: Mapping[str, OwnPose],
        anchor: Array,
        expected: ExpectedPose | None = None,
        earlier: Set[str] = frozenset(),
    ) -> dict[str, PoseByCamera]:
        """The poses of cameras that agree, by name, each with what its place on the rig adds to its covariance.

        ``own`` are poses of the cameras themselves, ``anchor`` (6, 6) is the covariance of their anchor, moved here.
        ``earlier`` are cameras whose images were taken before the frame.
        """
        self._agreed_ns = stamp_ns if self._agreed_ns is None else self._agreed_ns
        for name, pose in own.items():
            self._note(name, pose, stamp_ns)
        widened = {name: self._widened(name, pose) for name, pose in poses.items()}
        trusted = [name for name in widened if self._record(name).is_trusted]
        near = {name for name in trusted if expected is not None and _leads_to(widened[name], expected, anchor)}
        moving = {name for name in trusted if self._record(name).has_moved}
        seen = {name for name in trusted if not self._record(name).is_unseen}
        evidence = (moving, near - self._strayed, seen)
        chosen = self._largest_agreeing(trusted, widened, anchor, (*evidence, {self.leading}))
        self.is_astray, leaps = False, expected is not None and expected.odometry_leaps
        if len(trusted) > 1 and leaps and set(trusted) - {self.leading} <= earlier:
            self._is_in_doubt, chosen = True, ()  # nothing shows yet whether the robot has leapt, or what is seen
        elif len(chosen) > 1:
            self._undecided, self._is_in_doubt, self._agreed_ns, self._strayed = 0, False, stamp_ns, set()
        elif len(trusted) > 1:
            self._is_in_doubt = self._is_undecided(chosen[0], set(trusted) - set(chosen), evidence)
        elif trusted:
            self.is_astray = expected is not None and not near
            agrees = expected is not None and expected.odometry_agrees and not leaps
            self._is_in_doubt = self._doubts(trusted[0], stamp_ns, self.is_astray, odometry_agrees=agrees)
        is_standing = trusted == [self.leading] and self.is_standing(stamp_ns)
        believed = () if self._is_in_doubt or is_standing else chosen
        self._judge_others(believed, widened, anchor)
        if len(trusted) > 1 and chosen:  # judged from here on
            for name in trusted if len(chosen) == 1 else chosen:
                self._record(name).before = own[name]
        if self.leading in believed:
            for name in set(believed) - {self.leading}:
                self._record(name).learn(poses[name], poses[self.leading], anchor)
        return {name: widened[name] for name in believed}

    def _note(self, name: str, pose: OwnPose, stamp_ns: int) -> None:
        record = self._record(name)
        record.before, record.seen_ns = record.before or pose, stamp_ns
        record.has_moved = pose.has_moved(record.before)
        record.moves = record.last is None or pose.has_moved(record.last)
        record.last = pose

    def _is_undecided(self, chosen: str, rivals: set[str], evidence: Sequence[set[str]]) -> bool:
        """Whether nothing shows yet that one camera is right, and not those that contradict it."""
        speaks_for = any(chosen in one and one.isdisjoint(rivals) for one in evidence)
        speaks_against = any(chosen not in one and not one.isdisjoint(rivals) for one in evidence)
        self._undecided += 1
        if (speaks_for and not speaks_against) or self._undecided == _UNDECIDED:
            self._undecided = 0
            return False
        return True

    def _doubts(self, name: str, stamp_ns: int, is_astray: bool, *, odometry_agrees: bool) -> bool:
        """Whether a camera alone is not believed, which has left the motion so far now, or before."""
        if is_astray:
            self._strayed.add(name)
        contradicts_odometry = is_astray and odometry_agrees and name != self.leading
        return contradicts_odometry or ((is_astray or self._is_in_doubt) and self.others_see(name, stamp_ns))

    def _is_alone(self, name: str) -> bool:
        """Whether no other trusted camera has seen the map in as new a frame."""
        seen_ns = self._record(name).seen_ns or 0
        others = (one for other, one in self._records.items() if other != name and one.is_trusted)
        return not any(one.seen_ns is not None and one.seen_ns >= seen_ns for one in others)

    def _widened(self, name: str, pose: PoseByCamera) -> PoseByCamera:
        if name == self.leading:
            return pose
        return pose.widened(turn_covariance(self._record(name).excess, pose.map_from_camera.rotation))

    @staticmethod
    def _largest_agreeing(
        names: Sequence[str], poses: Mapping[str, PoseByCamera], anchor: Array, preferred: Sequence[set[str]]
    ) -> tuple[str, ...]:
        """The largest set of cameras that agree; of several one with a preferred camera, by the first that decides."""
        for size in range(len(names), 0, -1):
            agreeing = [some for some in combinations(names, size) if _agree(poses, some, anchor)]
            if agreeing:
                return max(agreeing, key=lambda some: tuple(not one.isdisjoint(some) for one in preferred))
        return ()

    def _judge_others(self, chosen: Sequence[str], poses: Mapping[str, PoseByCamera], anchor: Array) -> None:
        """Distrust cameras that contradict the chosen ones; trust those again that agree, and have moved."""
        for name in poses.keys() - set(chosen) if chosen else ():
            record = self._record(name)
            agrees = all(_agree(poses, (name, one), anchor) for one in chosen)
            record.is_trusted = agrees and (record.is_trusted or record.has_moved)

    def _record(self, name: str) -> _Record:
        return self._records.setdefault(name, _Record())


def _agree(poses: Mapping[str, PoseByCamera], names: Sequence[str], anchor: Array) -> bool:
    return all(poses[a].squared_distance(poses[b], anchor) <= FARTHEST for a, b in combinations(names, 2))


def _leads_to(pose: PoseByCamera, expected: ExpectedPose, anchor: Array) -> bool:
    """Whether a pose is where it is expected, perhaps by another anchor."""
    covariance = pose.own + expected.covariance + 2.0 * anchor
    return is_near(pose.map_from_camera, expected.map_from_camera, covariance)


def is_near(pose: SE3, expected: SE3, covariance: Array) -> bool:
    """Whether a pose is where it is expected, given the covariance (6, 6) of the difference."""
    step = pose_difference(pose, expected)
    return bool(step @ np.linalg.solve(covariance, step) <= FARTHEST)
