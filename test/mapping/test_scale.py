"""Scale, axes and the frame of reference poses, on poses whose truth is known exactly."""

from itertools import pairwise

import numpy as np
import pytest

from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geometry import SE3, Sim3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.trajectory import read_tum
from visloc_ros.mapping.config import FrameConfig, ReconstructionConfig
from visloc_ros.mapping.placement import check_frame_config, place
from visloc_ros.mapping.reconstruction import registered_poses, triangulate_at_known_poses
from visloc_ros.mapping.scale import align_to_references, find_up, level, scale_to_distance, transform

MAP_FROM_SFM = Sim3(2.5, rotation_matrix([0.3, -1.1, 0.4]), np.array([4.0, -2.0, 7.0]))


def names_of(poses):
    return {f"image{index}": pose for index, pose in enumerate(poses)}


def in_sfm(poses):
    return {name: MAP_FROM_SFM.inverse.apply_to_pose(pose) for name, pose in names_of(poses).items()}


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


AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


class TestGravity:
    def level_map(self, poses):
        return level(poses, find_up(list(poses.values())).direction)

    def test_a_level_camera_shows_what_is_up(self, scene):
        levelled = self.level_map(in_sfm(scene.poses)).rotation @ MAP_FROM_SFM.inverse.rotation
        assert np.allclose(levelled @ [0.0, 0.0, 1.0], [0.0, 0.0, 1.0], atol=1e-6)

    def test_the_first_camera_is_the_origin_and_looks_along_x(self, scene):
        poses = in_sfm(scene.poses)
        first = self.level_map(poses).apply_to_pose(poses["image0"])
        assert np.allclose(first.translation, 0.0)
        assert first.rotation[0, 2] > 0.9
        assert abs(first.rotation[1, 2]) < 1e-9

    def test_pitch_does_not_mislead_it_where_the_camera_turns(self):
        pitch = rotation_matrix([np.radians(-25.0), 0.0, 0.0])
        poses = [SE3(rotation_matrix([0.0, 0.0, yaw]) @ AHEAD @ pitch, np.zeros(3)) for yaw in np.linspace(0, 1.2, 8)]
        up = find_up(poses)
        assert up.reliable
        assert np.allclose(up.direction, [0.0, 0.0, 1.0], atol=1e-6)

    def test_without_turning_it_is_a_guess_and_says_so(self):
        up = find_up([SE3(AHEAD, np.array([x, 0.0, 0.0])) for x in range(5)])
        assert not up.reliable
        assert np.allclose(up.direction, [0.0, 0.0, 1.0])

    def test_a_camera_that_rolls_over_shows_nothing(self):
        poses = [SE3(rotation_matrix([0.0, 0.0, roll]), np.zeros(3)) for roll in np.linspace(0, 2 * np.pi, 9)[:8]]
        assert find_up(poses) is None

    @pytest.mark.parametrize("count", [15, 25, 40, 50])
    def test_what_it_calls_reliable_is_true_of_a_hand_held_camera(self, shared_data, count):
        folder = shared_data / "7scenes_redkitchen"
        down = np.loadtxt(folder / "gravity_direction.txt")
        poses = read_tum(folder / "groundtruth_tum.txt").poses[::10]
        found = [find_up(poses[start : start + count]) for start in range(len(poses) - count)]
        reliable = [up for up in found if up.reliable]
        assert reliable
        angles = [np.degrees(np.arccos(-up.direction @ down / np.linalg.norm(down))) for up in reliable]
        assert max(angles) < 10.0


class TestPlacement:
    @pytest.fixture
    def reconstruction(self, scene):
        config = ReconstructionConfig(threads=1)
        matches = scene.matches([(i, i + 1) for i in range(9)])
        result = triangulate_at_known_poses(scene.views, scene.poses, scene.camera, matches, config)
        transform(result, MAP_FROM_SFM.inverse)
        return result

    def references(self, scene):
        return {view.name: pose for view, pose in zip(scene.views, scene.poses, strict=True)}

    def test_nothing_known_is_not_metric(self, reconstruction):
        placement = place(reconstruction, None, FrameConfig(gravity="none"), at_references=False)
        assert (placement.metric, placement.gravity_aligned) == (False, False)
        assert (placement.scale_source, placement.gravity_source) == ("none", "none")

    def test_a_distance_makes_it_metric_and_keeps_the_points_in_place(self, scene, reconstruction):
        true = float(np.linalg.norm(scene.poses[-1].translation - scene.poses[0].translation))
        placement = place(reconstruction, None, FrameConfig(scale_distance=true), at_references=False)
        assert placement.metric
        assert placement.scale_source == "known distance"
        assert (placement.gravity_aligned, placement.gravity_source) == (True, "level camera")
        poses = registered_poses(reconstruction)
        for (a, b), (true_a, true_b) in zip(pairwise(poses.values()), pairwise(scene.poses), strict=True):
            assert (a.inverse @ b).is_close(true_a.inverse @ true_b, 1e-6, 1e-4)
        reconstruction.update_point_3d_errors()
        assert reconstruction.compute_mean_reprojection_error() < 1e-3

    def test_some_reference_poses_give_scale_and_frame(self, scene, reconstruction):
        some = dict(list(self.references(scene).items())[::3])
        placement = place(reconstruction, some, FrameConfig(), at_references=False)
        assert (placement.metric, placement.scale_source) == (True, "reference poses")
        assert not placement.gravity_aligned
        poses = registered_poses(reconstruction)
        assert all(poses[name].is_close(pose, 1e-6, 1e-4) for name, pose in self.references(scene).items())

    def test_reference_poses_of_other_images_are_refused(self, scene, reconstruction):
        with pytest.raises(MapError, match="0 map images"):
            place(reconstruction, {}, FrameConfig(), at_references=False)

    def test_reference_poses_that_are_level_are_believed(self, scene, reconstruction):
        config = FrameConfig(gravity="reference")
        assert place(reconstruction, self.references(scene), config, at_references=False).gravity_aligned

    @pytest.mark.parametrize(
        ("config", "has_references"),
        [
            (FrameConfig(scale_distance=2.0), True),
            (FrameConfig(gravity="camera"), True),
            (FrameConfig(gravity="reference"), False),
        ],
    )
    def test_contradictions_are_refused(self, config, has_references):
        with pytest.raises(ConfigError, match="reference poses"):
            check_frame_config(config, has_references)
