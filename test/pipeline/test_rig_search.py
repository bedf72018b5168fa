"""The search for one camera of a rig by all of them: which images, in which order, moved by how much since."""

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.rig import Rig, RigCamera
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Estimate, Frame, MapIdentity, Reason, Rejection, State
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.rig import RigPose
from visloc_ros.localization.rig.places import PlaceCheck
from visloc_ros.pipeline.rig_search import RigSearch

CAMERA = pycolmap.Camera(model="PINHOLE", width=4, height=4, params=[4, 4, 2, 2])
LEFT = SE3(rotation_matrix([0.0, -np.pi / 2, 0.0]), np.array([0.2, 0.0, 0.0]))
RIG = Rig({"front": RigCamera(SE3.identity()), "left": RigCamera(LEFT)})
STEP_NS = NANOSECONDS // 20
STEP_COVARIANCE = np.diag([1e-4, 2e-4, 3e-4, 1e-6, 1e-6, 1e-6])


def frame(stamp_ns):
    return Frame(stamp_ns, np.zeros((4, 4), np.uint8), CAMERA)


def pose_at(stamp_ns):
    """A rig that turns while it drives."""
    seconds = stamp_ns / NANOSECONDS
    return SE3(rotation_matrix([0.0, 0.0, 0.3 * seconds]), np.array([seconds, 0.2 * seconds, 0.0]))


def estimate(stamp_ns, rig_from_camera=LEFT, metric=True, motion=STEP_COVARIANCE):
    return Estimate(
        stamp_ns,
        State.LOCALIZED,
        map_from_odom=SE3.identity(),
        odom_from_camera=pose_at(stamp_ns) @ rig_from_camera,
        scale=1.0,
        metric=metric,
        motion_covariance=motion,
    )


class Engine:
    """Finds the rig by the cameras in ``seeing``; remembers what it was given."""

    rig, map_identity, places = RIG, MapIdentity("room", metric=True), PlaceCheck(RIG, PoseConfig())

    def __init__(self, **seeing):
        self.seeing, self.given, self.left_out = seeing, [], {}

    def localize(self, stamp_ns, images, prior=None):
        self.given.append((dict(images), prior))
        found = {name: anchor(stamp_ns, count) for name, count in self.seeing.items() if name in images and count}
        if not found:
            return Rejection(stamp_ns, Reason.FEW_INLIERS)
        return RigPose(stamp_ns, pose_at(stamp_ns), np.eye(6), np.zeros((6, 6)), 0.99, found, self.left_out)

    @property
    def asked(self):
        return [list(images) for images, _ in self.given]


def anchor(stamp_ns, count):
    pixels, points = np.ones((count, 2)), np.ones((count, 3))
    return AnchorPose(stamp_ns, SE3.identity(), np.eye(6), count, count, 1.0, pixels, points)


def test_the_motion_is_that_of_the_rig_and_one_that_was_not_measured_is_not_made_up():
    search = RigSearch(Engine(front=10), "left")
    for index in range(10):
        search.note(estimate(index * STEP_NS))
    now_ns, then_ns = 9 * STEP_NS, 9 * STEP_NS - NANOSECONDS // 10
    rig_from_rig_then, _ = search.motion.since(then_ns, now_ns)
    assert rig_from_rig_then.is_close(pose_at(now_ns).inverse @ pose_at(then_ns), 1e-3, 0.05)
    for unknown in ({"motion": None}, {"metric": False}):  # a new segment of odometry; units that are not metres
        search.note(estimate(10 * STEP_NS, **unknown))
        assert search.motion.since(then_ns, now_ns) is None


def test_poses_are_those_of_the_camera_that_odometry_follows():
    engine = Engine(front=10, left=30)
    search = RigSearch(engine, "left")
    search.see({"front": frame(0), "left": frame(0)})
    prior = pose_at(0) @ LEFT
    assert isinstance(search.localize(frame(0), prior), AnchorPose)
    assert engine.given[0][1].is_close(pose_at(0), 1e-9, 1e-6)
    engine.seeing = {"front": 10}
    blind = search.localize(frame(0), prior)
    assert blind.map_from_camera.is_close(prior, 1e-9, 1e-6)
    assert len(blind.inlier_points) == 0


def test_the_camera_that_saw_most_is_searched_first_and_a_blind_one_seldom():
    engine = Engine(front=10, left=30)
    search = RigSearch(engine, "front")
    for index in range(3):
        search.see({"front": frame(index), "left": frame(index)})
        search.localize(frame(index))
    assert engine.asked[1:] == [["left", "front"]] * 2
    engine.seeing = {"front": 0, "left": 30}
    for index in range(3, 23):
        search.see({"front": frame(index), "left": frame(index)})
        search.localize(frame(index), LEFT.inverse)  # as the left camera sees it
    assert 2 <= sum("front" in names for names in engine.asked[3:]) <= 4
    engine.seeing = {}
    search.localize(frame(30))
    search.localize(frame(31))
    assert set(engine.asked[-1]) == {"front", "left"}  # where none sees the map all are tried


def test_a_blind_camera_is_searched_too_to_confirm_a_pose_that_was_not_predicted():
    elsewhere = SE3(np.eye(3), np.array([9.0, 0.0, 0.0]))
    for prior in (None, elsewhere):
        engine = Engine(front=0, left=30)
        search = RigSearch(engine, "front")
        for index in range(4):
            search.see({"front": frame(index), "left": frame(index)})
            search.localize(frame(index), prior)
        assert engine.asked[1:] == [["left"], ["left", "front"]] * 3


def test_a_camera_that_contradicts_the_others_is_searched_on_for_its_place_to_be_checked():
    engine = Engine(front=10)
    engine.left_out = {"left": Rejection(0, Reason.RIG_MISMATCH, {"inliers": 30})}
    search = RigSearch(engine, "front")
    for index in range(4):
        search.see({"front": frame(index), "left": frame(index)})
        search.localize(frame(index))
    assert all(set(names) == {"front", "left"} for names in engine.asked)


@pytest.mark.parametrize(("ago_ns", "least_m", "most_m"), [(63_000_000, 0.03, 0.05), (400_000_000, 0.15, 0.25)])
def test_an_image_of_a_while_ago_is_searched_though_nothing_shows_the_motion_since(ago_ns, least_m, most_m):
    """It contradicts a camera that is upside down, or shows another one's image."""
    search = RigSearch(engine := Engine(front=10, left=30), "front")
    search.see({"front": frame(2 * NANOSECONDS), "left": frame(2 * NANOSECONDS - ago_ns)})
    search.localize(frame(2 * NANOSECONDS))
    left = engine.given[-1][0]["left"]
    assert left.rig_from_rig_then.is_close(SE3.identity(), 1e-9, 1e-9)
    sigmas = np.sqrt(np.diag(left.motion_covariance))
    assert least_m < sigmas[0] < most_m
    assert 45.0 < np.degrees(sigmas[3]) / sigmas[0] < 75.0


def test_an_unplugged_camera_is_not_searched_and_a_late_one_with_its_motion():
    engine = Engine(front=10, left=30)
    search = RigSearch(engine, "front")
    search.see({"left": frame(2 * STEP_NS)})
    for index in range(6):
        search.see({"front": frame(index * STEP_NS)})
        search.note(estimate(index * STEP_NS, SE3.identity()))
    search.localize(frame(5 * STEP_NS))
    images, _ = engine.given[-1]
    expected = pose_at(5 * STEP_NS).inverse @ pose_at(2 * STEP_NS)
    assert images["left"].rig_from_rig_then.is_close(expected, 1e-9, 1e-6)
    search.localize(frame(NANOSECONDS))
    assert engine.asked[-1] == ["front"]


def test_what_is_not_found_has_its_reason():
    assert RigSearch(Engine(), "front").localize(frame(0)).reason is Reason.FEW_INLIERS
