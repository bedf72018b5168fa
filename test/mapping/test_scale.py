"""Scale and the frame of reference poses, on poses whose truth is known exactly."""

import numpy as np
import pytest
from unscaled import MAP_FROM_SFM, in_sfm, names_of

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.mapping.scale import align_to_references, scale_to_distance


class TestReferences:
    def test_the_similarity_is_found_exactly(self, scene):
        found = align_to_references(in_sfm(scene.poses), names_of(scene.poses))
        assert found.scale == pytest.approx(2.5)
        assert rotation_angle_deg(found.rotation, MAP_FROM_SFM.rotation) < 1e-6
        assert np.allclose(found.translation, MAP_FROM_SFM.translation)

    def test_three_known_poses_are_enough(self, scene):
        known = dict(list(names_of(scene.poses).items())[2:5])
        found = align_to_references(in_sfm(scene.poses), known)
        assert found.scale == pytest.approx(2.5)
        with pytest.raises(MapError, match="2 map images"):
            align_to_references(in_sfm(scene.poses), dict(list(known.items())[:2]))

    def test_a_straight_path_is_no_problem(self):
        rng = np.random.default_rng(0)
        line = [SE3(rotation_matrix([0.0, 0.1 * x, 0.0]), np.array([x, 0.0, 0.0])) for x in range(10)]
        noisy = {
            name: SE3(pose.rotation, pose.translation + rng.normal(0, 1e-3, 3)) for name, pose in names_of(line).items()
        }
        found = align_to_references(in_sfm(line), noisy)
        assert rotation_angle_deg(found.rotation, MAP_FROM_SFM.rotation) < 1e-6
        assert found.scale == pytest.approx(2.5, rel=1e-3)

    def test_poses_of_another_body_are_refused(self, scene):
        rng = np.random.default_rng(0)
        turned = {
            name: SE3(rotation_matrix(rng.normal(0, 2, 3)), pose.translation)
            for name, pose in names_of(scene.poses).items()
        }
        with pytest.raises(MapError, match="turn differently"):
            align_to_references(in_sfm(scene.poses), turned)

    def test_poses_that_do_not_move_are_refused(self, scene):
        still = {name: SE3(pose.rotation, np.ones(3)) for name, pose in names_of(scene.poses).items()}
        with pytest.raises(MapError, match="do not move"):
            align_to_references(in_sfm(scene.poses), still)


class TestDistance:
    def test_the_distance_between_two_images_becomes_the_given_one(self, scene):
        poses = in_sfm(scene.poses)
        scaled = scale_to_distance(poses, 12.0, "image1", "image7")
        moved = [scaled.apply_to_pose(poses[name]).translation for name in ("image1", "image7")]
        assert np.linalg.norm(moved[1] - moved[0]) == pytest.approx(12.0)

    def test_first_and_last_are_the_default(self, scene):
        poses = in_sfm(scene.poses)
        true = float(np.linalg.norm(scene.poses[-1].translation - scene.poses[0].translation))
        assert scale_to_distance(poses, true).scale == pytest.approx(2.5)

    def test_an_unknown_image_is_named(self, scene):
        with pytest.raises(MapError, match="'image99'"):
            scale_to_distance(in_sfm(scene.poses), 1.0, "image99")

    def test_one_place_has_no_distance(self, scene):
        with pytest.raises(MapError, match="same place"):
            scale_to_distance(in_sfm(scene.poses), 1.0, "image3", "image3")
