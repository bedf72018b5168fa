"""Which cameras of a rig agree about the pose, and which one is wrong where they do not."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import axes_jacobian, pose_difference, turn_covariance
from visloc_ros.map_tracking.rig.joint_pose import PoseByCamera
from visloc_ros.map_tracking.tracker import FARTHEST

_RECENT = 3  # frames within which each camera has an image
_UNDECIDED = 3  # frames in a row in which nothing shows which of two cameras is wrong: then it is the one beside
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


@dataclass(eq=False)
class _Record:
    """What is known of one camera: where it was when it last agreed, and how much it differs from the others."""

    is_trusted: bool = True
    before: OwnPose | None = None
    undecided: int = 0  # contradictions in a row of which nothing shows that they are this camera's fault
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

    Of two that contradict each other the one is wrong that is not where the motion so far leads, or that stands while
    the other one moves: what a camera sees may freeze, and nothing makes it move by itself. Where neither shows, the
    leading one is believed, and their motion is judged from there on.
    """

    def __init__(self, leading: str) -> None:
        self.leading = leading
        self._records: dict[str, _Record] = {}
        self._recent: deque[frozenset[str]] = deque(maxlen=_RECENT)  # cameras with a pose in the last frames

    def is_trusted(self, name: str) -> bool:
        """Whether a camera has not contradicted the others since it last agreed with them."""
        return self._record(name).is_trusted

    def distrust(self, name: str) -> None:
        """Leave a camera out from now on."""
        self._record(name).is_trusted = False

    def restart(self, name: str, anchored: SE3, *, is_seen: bool) -> None:
        """Judge the motion of a camera from where it was at another anchor on, which ``is_seen`` in its own image."""
        record = self._record(name)
        record.before, record.is_trusted = OwnPose(anchored, np.zeros((6, 6))), record.is_trusted or is_seen

    def choose(
        self,
        poses: Mapping[str, PoseByCamera],
        own: Mapping[str, OwnPose],
        anchor: Array,
        expected: tuple[SE3, Array] | None = None,
    ) -> dict[str, PoseByCamera]:
        """The poses of cameras that agree, by name, each with what its place on the rig adds to its covariance.

        ``own`` are poses of the cameras themselves, ``anchor`` (6, 6) is the covariance of their anchor, moved here.
        ``expected`` is the pose of the leading camera by the motion so far, with its covariance (6, 6).
        """
        for name, pose in own.items():
            record = self._record(name)
            record.before = record.before or pose
        widened = {name: self._widened(name, pose) for name, pose in poses.items()}
        trusted = [name for name in widened if self._record(name).is_trusted]
        near = {name for name in trusted if expected is not None and _leads_to(widened[name], *expected, anchor)}
        moving = {name for name in trusted if self._moves(name, own)}
        chosen = self._largest_agreeing(trusted, widened, anchor, (near, moving, {self.leading}))
        if len(chosen) == 1 and expected is not None and chosen[0] not in near and self._others_tracked(chosen[0]):
            chosen = ()  # the next image of another camera will tell
        self._recent.append(frozenset(poses))
        self._judge_others(chosen, widened, own, anchor, (near, moving))
        for name in chosen:
            if len(chosen) > 1:
                self._record(name).before = own[name]
            if self.leading in chosen and name != self.leading:
                self._record(name).learn(poses[name], poses[self.leading], anchor)
        return {name: widened[name] for name in chosen}

    def _others_tracked(self, name: str) -> bool:
        """Whether other trusted cameras had poses in the last frames."""
        others = frozenset().union(*self._recent) - {name}
        return any(self._record(other).is_trusted for other in others)

    def _widened(self, name: str, pose: PoseByCamera) -> PoseByCamera:
        if name == self.leading:
            return pose
        return replace(pose, own=pose.own + turn_covariance(self._record(name).excess, pose.map_from_camera.rotation))

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

    def _judge_others(
        self,
        chosen: Sequence[str],
        poses: Mapping[str, PoseByCamera],
        own: Mapping[str, OwnPose],
        anchor: Array,
        evidence: Sequence[set[str]],
    ) -> None:
        """Distrust cameras that contradict the chosen ones; trust those again that agree, and have moved.

        Where nothing but the lead has decided, all of them are given some frames to show which one stands still.
        """
        for name in poses.keys() - set(chosen) if chosen else ():
            record, agrees = self._record(name), all(_agree(poses, (name, one), anchor) for one in chosen)
            is_open = all((name in one) == (not one.isdisjoint(chosen)) for one in evidence)
            if record.is_trusted and not agrees and is_open and record.undecided + 1 < _UNDECIDED:
                record.undecided += 1
                for one in (name, *chosen):
                    self._record(one).before = own[one]
                continue
            record.is_trusted = agrees and (record.is_trusted or self._moves(name, own))
            record.undecided = 0
        for name in chosen if len(chosen) > 1 else ():
            self._record(name).undecided = 0

    def _moves(self, name: str, own: Mapping[str, OwnPose]) -> bool:
        before = self._record(name).before
        return before is not None and own[name].has_moved(before)

    def _record(self, name: str) -> _Record:
        return self._records.setdefault(name, _Record())


def _agree(poses: Mapping[str, PoseByCamera], names: Sequence[str], anchor: Array) -> bool:
    return all(poses[a].squared_distance(poses[b], anchor) <= FARTHEST for a, b in combinations(names, 2))


def _leads_to(pose: PoseByCamera, expected: SE3, covariance: Array, anchor: Array) -> bool:
    """Whether a pose is where it is expected, perhaps by another anchor."""
    return is_near(pose.map_from_camera, expected, pose.own + covariance + 2.0 * anchor)


def is_near(pose: SE3, expected: SE3, covariance: Array) -> bool:
    """Whether a pose is where it is expected, given the covariance (6, 6) of the difference."""
    step = pose_difference(pose, expected)
    return bool(step @ np.linalg.solve(covariance, step) <= FARTHEST)
