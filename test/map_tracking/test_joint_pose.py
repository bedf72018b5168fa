"""The joint pose of one to four cameras: its error, drawn many times, is as large as its covariance says."""

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.tangent import lever_jacobian, perturbed, pose_difference
from visloc_ros.map_tracking.rig.joint_pose import PoseByCamera, join
from visloc_ros.map_tracking.tracker import combine, located_by_references, tracked_from_anchor

DRAWS = 500
TRUE = SE3(rotation_matrix([0.3, -0.2, 0.5]), np.array([1.0, 2.0, 0.5]))
NOTHING = np.zeros((6, 6))


def covariance(rng, metres, radians):
    """A full covariance (6, 6) with about these standard deviations."""
    mixed = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    scaled = np.diag([metres] * 3 + [radians] * 3)
    return scaled @ (mixed @ np.diag(rng.uniform(0.3, 2.0, 6)) @ mixed.T) @ scaled


class Camera:
    """What one camera measures: the motion since the anchor, and the map's own images, both from somewhere else."""

    def __init__(self, rng, source):
        self.motion, self.of_map = covariance(rng, 4e-3, 2e-3), covariance(rng, 6e-3, 3e-3)
        self.source = source

    def pose(self, rng, of_anchor, anchor):
        moved = perturbed(TRUE, of_anchor + rng.multivariate_normal(np.zeros(6), self.motion))
        seen = perturbed(TRUE, rng.multivariate_normal(np.zeros(6), self.of_map))
        combined = {
            "followed": lambda: tracked_from_anchor(moved, self.motion, anchor),
            "corrected": lambda: combine(
                tracked_from_anchor(moved, self.motion, anchor), seen, self.of_map, anchor, 100.0 * anchor
            ),
            "by the map": lambda: located_by_references(seen, self.of_map, anchor),
        }[self.source]()
        added = combined.anchor_share - np.eye(6)
        own = combined.covariance_since_anchor - added @ anchor @ added.T
        return PoseByCamera(combined.map_from_camera, combined.anchor_share, own)


@pytest.mark.parametrize("sources", [
    ["followed"], ["followed"] * 2, ["followed"] * 4, ["corrected"], ["corrected"] * 2, ["corrected"] * 3,
    ["corrected"] * 4, ["by the map"] * 2, ["followed", "corrected", "by the map", "corrected"],
])  # fmt: skip
def test_the_error_is_as_large_as_its_covariance_says(sources):
    rng = np.random.default_rng(0)
    anchor, cameras = covariance(rng, 1.5e-2, 8e-3), [Camera(rng, source) for source in sources]
    of_pose, since_anchor = [], []
    for _ in range(DRAWS):
        of_anchor = rng.multivariate_normal(np.zeros(6), anchor)
        joint = join([camera.pose(rng, of_anchor, anchor) for camera in cameras], anchor)
        error = pose_difference(joint.map_from_camera, TRUE)
        of_pose.append(error @ np.linalg.solve(joint.covariance(anchor), error))
        added = error - of_anchor
        since_anchor.append(added @ np.linalg.solve(joint.covariance_since_anchor(anchor), added))
    assert 0.9 < np.mean(of_pose) / 6.0 < 1.1
    assert 0.9 < np.mean(since_anchor) / 6.0 < 1.1


def test_more_cameras_are_surer_but_never_of_what_all_of_them_got_from_the_anchor():
    rng = np.random.default_rng(1)
    anchor = covariance(rng, 1.5e-2, 8e-3)
    camera = Camera(rng, "followed")
    poses = [camera.pose(rng, np.zeros(6), anchor) for _ in range(4)]
    joint = [join(poses[:number], anchor) for number in (1, 2, 4)]
    traces = [np.trace(one.covariance_since_anchor(anchor)) for one in joint]
    assert traces[1] == pytest.approx(traces[0] / 2.0)
    assert traces[2] == pytest.approx(traces[0] / 4.0)
    assert all(np.linalg.eigvalsh(one.covariance(anchor) - anchor).min() > 0.0 for one in joint)


def test_poses_that_differ_by_the_anchors_error_alone_are_near():
    rng = np.random.default_rng(2)
    anchor, own = covariance(rng, 1.5e-2, 8e-3), covariance(rng, 1e-3, 1e-3)
    step = lever_jacobian([0.1, 0.0, 0.0]) @ np.array([1.5e-2, 0.0, 0.0, 0.0, 8e-3, 0.0])
    followed = PoseByCamera(perturbed(TRUE, step), np.eye(6), own)
    assert followed.squared_distance(PoseByCamera(TRUE, NOTHING, own), anchor) < 12.0
    assert followed.squared_distance(PoseByCamera(TRUE, np.eye(6), own), anchor) > 50.0


def test_poses_that_hardly_agree_make_one_that_is_less_sure():
    """As while a camera's place on the rig has just changed, and the difference is not certain yet."""
    sigma, anchor = 1e-2, 1e-4 * np.eye(6)
    widths = []
    for sigmas in (1.0, 4.5):
        moved = perturbed(TRUE, np.array([sigmas * np.sqrt(2.0) * sigma, 0.0, 0.0, 0.0, 0.0, 0.0]))
        poses = [PoseByCamera(pose, np.eye(6), sigma**2 * np.eye(6)) for pose in (TRUE, moved)]
        joint = join(poses, anchor)
        assert joint.map_from_camera.translation[0] - TRUE.translation[0] == pytest.approx(
            sigmas * sigma / np.sqrt(2.0)
        )
        widths.append(np.sqrt(joint.own[0, 0]) / (sigma / np.sqrt(2.0)))
    assert widths == pytest.approx([1.0, 4.5 / np.sqrt(12.59)], rel=1e-3)
