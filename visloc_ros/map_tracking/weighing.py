"""A pose followed from an anchor, and one that the map's own pictures tell: together, by their covariances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array, rotation_matrix, rotation_vector

_FARTHEST = 22.5  # squared distance in standard deviations: 99.9 % of six dimensions are nearer


@dataclass(frozen=True, eq=False)
class Believed:
    """``map_from_camera`` with covariances (6, 6): ``whole``, and ``since_anchor``, the anchor taken as true.

    ``lasting`` (6, 6) is the latter for what is followed from here on. The map's pictures do not lessen it: they err
    in the next frames as they do in this one, and must not be taken for news again and again.
    """

    map_from_camera: SE3
    whole: Array
    since_anchor: Array
    lasting: Array


def follow_anchor(pose: SE3, since_anchor: Array, anchor: Array) -> Believed:
    """What the anchor, of which ``anchor`` (6, 6) is the covariance as carried to here, and the motion since tell."""
    return Believed(pose, anchor + since_anchor, since_anchor, since_anchor)


def follow_map(pose: SE3, covariance: Array, anchor: Array) -> Believed:
    """What the map alone tells: towards an anchor it has the anchor's error, too."""
    return Believed(pose, covariance, covariance + anchor, covariance + anchor)


def weigh(followed: Believed, pose: SE3, covariance: Array, anchor: Array) -> Believed | None:
    """Hold a followed pose to the one that the map tells; None where they contradict each other.

    The weights are those of the motion since the anchor: a pose that is handed on as such must not jump to the map
    when a new anchor has just been taken, whose own error others weigh.
    """
    error = np.concatenate(
        [
            pose.translation - followed.map_from_camera.translation,
            rotation_vector(pose.rotation @ followed.map_from_camera.rotation.T),
        ]
    )
    total = followed.since_anchor + covariance + anchor
    if error @ np.linalg.solve(total, error) > _FARTHEST:
        return None
    gain = np.linalg.solve(total, followed.since_anchor).T
    kept, step = np.eye(6) - gain, gain @ error
    moved = SE3(
        rotation_matrix(step[3:]) @ followed.map_from_camera.rotation, followed.map_from_camera.translation + step[:3]
    )
    whole = kept @ followed.whole @ kept.T + gain @ covariance @ gain.T
    since_anchor = kept @ followed.since_anchor @ kept.T + gain @ (covariance + anchor) @ gain.T
    return Believed(moved, whole, since_anchor, followed.since_anchor)
