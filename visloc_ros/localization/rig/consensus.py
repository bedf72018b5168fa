"""Which cameras of a rig agree, of those that were found each on its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.core.tangent import pose_difference
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.evidence import RIVAL_SHARE, SURE_LOG_ODDS, sees_elsewhere
from visloc_ros.localization.rig.camera import CameraSearch
from visloc_ros.localization.rig.observation import observe
from visloc_ros.localization.rig.solving import RigSolution, solve_rig_pose
from visloc_ros.localization.rig.view import RigView

_SUREST = 1.0 - 1e-12

Agreement = tuple[list[CameraSearch], RigSolution]
"""Cameras, and the pose that explains what they see."""


def consensus(found: Sequence[CameraSearch], reference: str, config: PoseConfig) -> Agreement | None:
    """The largest set of cameras that agree; of equally large ones one with the reference camera."""
    for size in range(len(found), 0, -1):
        sets = [(list(some), _agreed(some, config)) for some in combinations(found, size)]
        agreements = [(some, solution) for some, solution in sets if solution is not None]
        if agreements:
            return max(agreements, key=lambda one: (_contains(one[0], reference), _share_kept(*one)))
    return None


def is_kept(views: Sequence[RigView], solution: RigSolution) -> bool:
    """Whether a joint pose keeps most inliers of every camera: none contradicts it."""
    kept = zip(views, solution.inliers, strict=True)
    return all(int(inliers.sum()) >= RIVAL_SHARE * len(view.pixels) for view, inliers in kept)


def is_undecided(agreeing: Sequence[CameraSearch], found: Sequence[CameraSearch], solution: RigSolution) -> bool:
    """Whether cameras that see another place are as many, and nearly as sure, as those that agree.

    A camera that is mounted a little otherwise sees the same place.
    """
    contrary = [camera for camera in found if camera not in agreeing and _is_elsewhere(camera, solution)]
    if len(contrary) != len(agreeing):
        return len(contrary) > len(agreeing)
    return bool(contrary) and log_odds(agreeing) - log_odds(contrary) < SURE_LOG_ODDS


def disagreement(agreeing: Sequence[CameraSearch], solution: RigSolution) -> Array:
    """Covariance (6, 6) of the joint pose by how much more the cameras' own poses differ than they claim.

    The places of cameras on a rig are never quite right. It is the scatter of the own poses, as far as it exceeds what
    they claim (random effects, DerSimonian and Laird 1986).
    """
    scatter, squared = np.zeros((6, 6)), 0.0
    for camera in agreeing:
        difference = pose_difference(camera.own_map_from_rig, solution.map_from_rig)
        by_image, covariance = camera.own_covariances()
        normalised = np.linalg.solve(covariance, difference)
        squared += float(difference @ normalised)
        unexplained = by_image @ normalised  # the part of the difference that is not the motion's error
        scatter += np.outer(unexplained, unexplained)
    degrees_of_freedom = 6.0 * (len(agreeing) - 1)
    if squared <= degrees_of_freedom or len(agreeing) < 2:
        return np.zeros((6, 6))
    return (1.0 - degrees_of_freedom / squared) / (len(agreeing) - 1) * scatter


def log_odds(found: Sequence[CameraSearch]) -> float:
    """Logarithm of the odds that a pose is right on which these cameras agree, each by its own image."""
    probabilities = np.array([camera.anchor.probability or 0.5 for camera in found])
    probabilities = np.minimum(probabilities, _SUREST)
    return float(np.log(probabilities / (1.0 - probabilities)).sum())


def _agreed(cameras: Sequence[CameraSearch], config: PoseConfig) -> RigSolution | None:
    """The joint pose of cameras, where it keeps what each has found, and no place contradicts another.

    Moving the rig can compensate a wrong place, so that inliers alone do not show it.
    """
    if any(observe(*pair).contradicts(config.max_error_px) for pair in combinations(cameras, 2)):
        return None
    views = [camera.own_view for camera in cameras]
    solution = solve_rig_pose(views, config, [camera.own_map_from_rig for camera in cameras])
    return solution if solution is not None and is_kept(views, solution) else None


def _share_kept(cameras: Sequence[CameraSearch], solution: RigSolution) -> float:
    return solution.num_inliers / sum(camera.anchor.num_inliers for camera in cameras)


def _contains(cameras: Sequence[CameraSearch], name: str) -> bool:
    return any(camera.name == name for camera in cameras)


def _is_elsewhere(camera: CameraSearch, solution: RigSolution) -> bool:
    """Whether a camera sees another place than it would from a pose of the rig."""
    expected = camera.map_from_camera(solution.map_from_rig)
    return sees_elsewhere(camera.anchor.map_from_camera, camera.anchor.inlier_points, expected)
