"""Rigs in an exactly known room: several cameras are found together, and one that contradicts the others is named."""

from dataclasses import replace

import numpy as np
import pytest
from rig_world import RigInRoom, looking, turned

from visloc_ros.core.calibration import guess_calibration
from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.tangent import perturbed, pose_difference
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.localization.rig import RigImage, RigPose

OTHER_PLACE = looking(200.0, (0.9, 0.8, 0.1))
MOVED = SE3.from_rotation_vector([0.0, 0.0, 0.06], [0.15, 0.02, 0.0])  # in a tenth of a second


def error_m(answer, map_from_rig):
    assert isinstance(answer, RigPose), answer
    return float(np.linalg.norm(answer.map_from_rig.translation - map_from_rig.translation))


def test_two_cameras_give_a_better_pose_than_either_with_an_honest_covariance(room):
    rig, rng = RigInRoom(room), np.random.default_rng(0)
    errors, of_single, squared = [], [], []
    for _ in range(12):
        body = SE3(rotation_matrix([0.02, 0.01, rng.uniform(-3.0, 3.0)]), rng.uniform(-0.5, 0.5, 3))
        images = rig.images(body, keep=0.4)
        answer = rig.rig_engine.localize(1_000, images)
        assert set(answer.by_camera) == {"front", "left"}
        difference = pose_difference(answer.map_from_rig, body)
        errors.append(error_m(answer, body))
        squared.append(float(difference @ np.linalg.solve(answer.covariance, difference)))
        single = rig.engine.localize(images["front"].frame)
        expected = body @ rig.rig.rig_from_camera("front")
        of_single.append(np.linalg.norm(single.map_from_camera.translation - expected.translation))
        assert np.trace(answer.covariance[:3, :3]) < np.trace(single.covariance[:3, :3])
    assert np.median(errors) < 0.7 * np.median(of_single)
    assert max(squared) < 22.5  # chi-square of six degrees of freedom: one in a thousand


def test_what_each_camera_sees_is_given_at_its_own_place(room, body):
    rig = RigInRoom(room)
    answer = rig.rig_engine.localize(1_000, rig.images(body))
    for name, anchor in answer.by_camera.items():
        expected = body @ rig.rig.rig_from_camera(name)
        assert anchor.map_from_camera.is_close(expected, 0.01, 0.1)
        assert anchor.inlier_points.shape == (anchor.num_inliers, 3)
        seen = expected.inverse @ anchor.inlier_points
        assert (seen[:, 2] > 0.0).all()
    assert answer.num_inliers == sum(anchor.num_inliers for anchor in answer.by_camera.values())


def test_a_covered_camera_is_left_out_and_the_other_suffices(room, body):
    rig = RigInRoom(room)
    images = rig.images(body)
    covered = images | {"front": RigImage(rig.frame(room.clutter(3)))}
    answer = rig.rig_engine.localize(1_000, covered)
    assert error_m(answer, body) < 0.02
    assert set(answer.by_camera) == {"left"}
    assert answer.left_out["front"].reason is Reason.FEW_FEATURES
    assert error_m(rig.rig_engine.localize(1_000, {"left": images["left"]}), body) < 0.02


WEAK = [{"region": (x, y, 160, 160), "keep": 0.7, "clutter": 60} for x in (80, 200, 320, 440) for y in (60, 160, 260)]


def weak_images(rig, poses):
    """Images of which no camera is found alone: of a few points in one corner."""
    for seen in WEAK:
        images = {name: rig.image(name, pose, **seen) for name, pose in poses.items()}
        if all(isinstance(rig.engine.localize(image.frame), Rejection) for image in images.values()):
            yield images


def test_cameras_of_which_none_suffices_alone_are_found_together(room, body):
    rig = RigInRoom(room)
    answers = [rig.rig_engine.localize(1_000, images) for images in weak_images(rig, {"front": body, "left": body})]
    found = [answer for answer in answers if isinstance(answer, RigPose)]
    assert len(found) >= 2
    for answer in found:
        assert error_m(answer, body) < 0.05
        assert min(anchor.num_inliers for anchor in answer.by_camera.values()) >= 8


def test_weak_images_of_two_places_are_not_joined(room, body):
    rig = RigInRoom(room)
    answers = [
        rig.rig_engine.localize(1_000, images) for images in weak_images(rig, {"front": body, "left": OTHER_PLACE})
    ]
    assert len(answers) >= 3
    assert all(isinstance(answer, Rejection) for answer in answers)


def test_nothing_is_found_of_a_place_that_is_not_in_the_map(room):
    rig = RigInRoom(room)
    images = {name: RigImage(rig.frame(room.clutter(400))) for name in rig.rig.names}
    assert isinstance(rig.rig_engine.localize(1_000, images), Rejection)


@pytest.mark.parametrize("wrong", ["left", "back"])
def test_a_camera_that_is_mounted_three_degrees_otherwise_is_left_out_and_named(room, body, wrong):
    rig = RigInRoom(room, ("front", "left", "back"))
    images = rig.images(body)
    rig.mount(turned(rig.rig, wrong, 3.0))
    answer = rig.rig_engine.localize(1_000, images)
    assert answer.left_out.keys() == {wrong}
    assert answer.left_out[wrong].reason is Reason.RIG_MISMATCH
    assert error_m(answer, body) < 0.02
    assert rotation_angle_deg(answer.map_from_rig.rotation, body.rotation) < 0.1


def test_where_a_wrong_place_of_a_camera_is_compensated_the_covariance_says_so(room, body):
    """Cameras that look to opposite sides can be a little turned by moving the rig, too."""
    rig = RigInRoom(room, ("front", "back"))
    images = rig.images(body)
    right = rig.rig_engine.localize(1_000, images)
    rig.mount(turned(rig.rig, "back", 0.8))
    answer = rig.rig_engine.localize(1_000, images)
    assert set(answer.by_camera) == {"front", "back"}
    difference = pose_difference(answer.map_from_rig, body)
    assert difference @ np.linalg.solve(right.covariance, difference) > 22.5
    assert difference @ np.linalg.solve(answer.covariance, difference) < 22.5


def test_of_two_cameras_that_contradict_each_other_the_reference_is_believed(room, body):
    rig = RigInRoom(room)
    images = rig.images(body) | {"front": rig.image("front", body, keep=0.4)}
    rig.mount(turned(rig.rig, "left", 3.0))
    answer = rig.rig_engine.localize(1_000, images)
    assert set(answer.by_camera) == {"front"}
    assert answer.left_out["left"].reason is Reason.RIG_MISMATCH
    assert error_m(answer, body) < 0.03


def test_a_look_alike_that_one_of_three_cameras_sees_is_outvoted(room, body):
    rig = RigInRoom(room, ("front", "left", "back"))
    images = rig.images(body) | {"front": rig.image("front", OTHER_PLACE)}
    answer = rig.rig_engine.localize(1_000, images)
    assert set(answer.by_camera) == {"left", "back"}
    assert answer.left_out["front"].reason is Reason.RIG_MISMATCH
    assert error_m(answer, body) < 0.02


def test_two_cameras_that_see_two_places_have_no_pose(room, body):
    rig = RigInRoom(room)
    images = rig.images(body) | {"front": rig.image("front", OTHER_PLACE)}
    answer = rig.rig_engine.localize(1_000, images)
    assert isinstance(answer, Rejection)
    assert answer.reason is Reason.RIG_MISMATCH


def test_a_late_image_is_used_with_the_motion_since_and_left_out_without(room, body):
    rig, then = RigInRoom(room), 1_000
    now = then + 100_000_000
    before = body @ MOVED.inverse
    late = rig.image("left", before, stamp_ns=then)
    images = {"front": rig.image("front", body, stamp_ns=now), "left": late}
    without = rig.rig_engine.localize(now, images)
    assert without.left_out["left"].reason is Reason.STALE
    assert set(without.by_camera) == {"front"}
    moved = replace(late, rig_from_rig_then=MOVED.inverse, motion_covariance=np.diag([1e-6] * 6))
    answer = rig.rig_engine.localize(now, images | {"left": moved})
    assert set(answer.by_camera) == {"front", "left"}
    assert error_m(answer, body) < 0.01
    exactly = replace(moved, motion_covariance=np.zeros((6, 6)))
    assert error_m(rig.rig_engine.localize(now, images | {"left": exactly}), body) < 0.01


def test_a_doubtful_motion_widens_the_covariance(room, body):
    rig = RigInRoom(room)
    images = rig.images(body)
    doubtful = replace(images["left"], rig_from_rig_then=SE3.identity(), motion_covariance=np.diag([0.01**2] * 6))
    sure, unsure = (rig.rig_engine.localize(1_000, some) for some in (images, images | {"left": doubtful}))
    assert np.linalg.eigvalsh(unsure.covariance - sure.covariance).min() > -1e-12
    assert np.trace(unsure.covariance) > 1.5 * np.trace(sure.covariance)


def test_an_image_from_before_a_motion_that_nobody_knows_makes_no_pose_worse(room):
    rig, rng = RigInRoom(room), np.random.default_rng(1)
    sigmas = np.repeat([0.03, np.radians(2.0)], 3)
    errors, of_single, squared, ratios = [], [], [], []
    for _ in range(16):
        body = SE3(rotation_matrix([0.02, 0.01, rng.uniform(-3.0, 3.0)]), rng.uniform(-0.5, 0.5, 3))
        motion = perturbed(SE3.identity(), rng.normal(0.0, sigmas))
        late = replace(
            rig.image("left", body @ motion, keep=0.4),
            rig_from_rig_then=SE3.identity(),
            motion_covariance=np.diag(np.square(sigmas)),
        )
        front = rig.image("front", body, keep=0.4)
        single = rig.rig_engine.localize(1_000, {"front": front})
        answer = rig.rig_engine.localize(1_000, {"front": front, "left": late})
        assert set(answer.by_camera) == {"front", "left"}
        difference = pose_difference(answer.map_from_rig, body)
        errors.append(error_m(answer, body))
        of_single.append(error_m(single, body))
        squared.append(float(difference @ np.linalg.solve(answer.covariance, difference)))
        ratios.append(np.trace(answer.covariance[:3, :3]) / np.trace(single.covariance[:3, :3]))
    # Noise is independent here, while the covariance allows for errors that neighbouring keypoints share.
    assert np.median(errors) < 1.5 * np.median(of_single)
    assert np.median(ratios) < 1.0
    assert max(ratios) < 1.5
    assert max(squared) < 22.5  # chi-square of six degrees of freedom: one in a thousand


def test_a_prediction_is_used_for_every_camera(room, body):
    rig = RigInRoom(room)
    images = rig.images(body)
    answer = rig.rig_engine.localize(1_000, images, prior=body @ MOVED)
    assert error_m(answer, body) < 0.01
    assert "global" not in answer.stage_ms  # nothing had to be retrieved


def test_a_camera_of_unknown_intrinsics_is_refused(room, body):
    rig = RigInRoom(room)
    images = rig.images(body)
    frame = images["left"].frame.with_calibration(guess_calibration(640, 480))
    with pytest.raises(CalibrationError, match="'left'"):
        rig.rig_engine.localize(1_000, images | {"left": RigImage(frame)})
    with pytest.raises(CalibrationError, match="no camera 'top'"):
        rig.rig_engine.localize(1_000, {"top": images["left"]})


def test_one_camera_gives_what_the_engine_of_single_images_gives(room, body):
    rig = RigInRoom(room)
    image = rig.image("front", body)
    answer, single = rig.rig_engine.localize(1_000, {"front": image}), rig.engine.localize(image.frame)
    assert isinstance(single, AnchorPose)
    of_rig = answer.by_camera["front"]
    assert of_rig.map_from_camera.is_close(single.map_from_camera, 1e-3, 0.05)
    assert np.allclose(np.sqrt(np.diag(of_rig.covariance)), np.sqrt(np.diag(single.covariance)), rtol=0.1)
    assert answer.probability == pytest.approx(single.probability)


def test_a_camera_that_stands_while_another_one_moves_is_left_out(room, body):
    rig = RigInRoom(room)
    first = rig.images(body)
    assert set(rig.rig_engine.localize(1_000, first).by_camera) == {"front", "left"}
    moved = body @ MOVED
    for frozen, live in (("front", "left"), ("left", "front")):
        images = rig.images(moved) | {frozen: first[frozen]}
        answer = rig.rig_engine.localize(2_000, images)
        assert set(answer.by_camera) == {live}
        assert answer.left_out[frozen].reason is Reason.RIG_MISMATCH
        assert error_m(answer, moved) < 0.02
    assert set(rig.rig_engine.localize(3_000, rig.images(moved)).by_camera) == {"front", "left"}


def test_a_prediction_by_a_camera_that_stands_still_is_no_evidence_for_it(room, body):
    rig = RigInRoom(room)
    first, moved = rig.images(body), body @ MOVED @ MOVED @ MOVED @ MOVED @ MOVED
    rig.rig_engine.localize(1_000, first)
    answer = rig.rig_engine.localize(2_000, rig.images(moved) | {"front": first["front"]}, body)
    assert set(answer.by_camera) == {"left"}
    assert error_m(answer, moved) < 0.02


def test_of_two_that_see_different_places_the_one_is_believed_that_is_where_the_rig_was(room, body):
    rig = RigInRoom(room)
    images = rig.images(body) | {"front": rig.image("front", OTHER_PLACE)}
    assert isinstance(rig.rig_engine.localize(1_000, images), Rejection)
    answer = rig.rig_engine.localize(2_000, images, body)
    assert set(answer.by_camera) == {"left"}
    assert error_m(answer, body) < 0.02
