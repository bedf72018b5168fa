"""Cameras of a rig that are found at known poses while it walks, without images: a pose of each, with its noise."""

from types import SimpleNamespace

import numpy as np
import pycolmap

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.rig import Rig, RigCamera
from visloc_ros.core.tangent import perturbed
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.rig.camera import CameraSearch
from visloc_ros.localization.rig.places import PlaceCheck

FRONT = SE3(rotation_matrix([0.1, 0.2, 0.0]), np.array([0.3, 0.0, 0.1]))
LEFT = FRONT @ SE3(rotation_matrix([0.0, -np.pi / 2, 0.0]), np.array([-0.1, 0.0, -0.1]))
RIG = Rig({"front": RigCamera(FRONT), "left": RigCamera(LEFT)})
CAMERA = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500.0, 500.0, 320.0, 240.0])
SIGMAS = np.array([0.003] * 3 + [0.001] * 3)
BEGIN_S = 100.0


def found(rng, name, place, stamp_ns, map_from_camera):
    """A camera with a noisy pose of its own."""
    noisy = perturbed(map_from_camera, rng.normal(0.0, SIGMAS))
    points = noisy @ (np.array([0.0, 0.0, 4.0]) + rng.normal(0.0, 1.0, (8, 3)))
    anchor = AnchorPose(stamp_ns, noisy, np.diag(SIGMAS**2), 8, 8, 0.5, np.zeros((8, 2)), points)
    query = SimpleNamespace(frame=SimpleNamespace(stamp_ns=stamp_ns, camera=CAMERA))
    return CameraSearch(name, query, place, None, anchor)


def walked(path, late_s=0.0, actual=RIG, leading="front", seconds=10.0, odometry=True, given=RIG):
    """What a check knows after a walk with stamps of "left" so late; ``path`` gives ``map_from_rig`` at a time."""
    check, rng = PlaceCheck(given, PoseConfig()), np.random.default_rng(0)
    odom_from_map = SE3(rotation_matrix([0.0, 0.0, 1.0]), np.array([5.0, 1.0, 0.0]))
    clock_s = late_s if leading == "left" else 0.0
    walk = [(_ns(s), odom_from_map @ path(s - clock_s)) for s in np.arange(0.0, seconds, 0.05).tolist()]
    for row, (now_ns, _) in enumerate(walk):
        if odometry:
            check.moved(leading, walk[max(row - 40, 0) : row + 1])
        if row % 10 == 0:
            now_s = 0.05 * row
            truth = {"front": path(now_s), "left": path(now_s - late_s)}
            check.add(
                [
                    found(rng, name, given.rig_from_camera(name), now_ns, pose @ actual.rig_from_camera(name))
                    for name, pose in truth.items()
                ]
            )
    return check


def _ns(seconds):
    return round((BEGIN_S + seconds) * NANOSECONDS)
