import numpy as np
import pycolmap
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from visloc_ros.core import geometry
from visloc_ros.core.geometry import SE3, Sim3, rotation_matrix

finite = st.floats(-5.0, 5.0)
vectors = st.tuples(finite, finite, finite).map(np.array)
poses = st.builds(SE3.from_rotation_vector, vectors, vectors)
similarities = st.builds(lambda pose, log_scale: Sim3.from_se3(pose, np.exp(log_scale)), poses, st.floats(-2.0, 2.0))


@given(poses, poses, poses)
def test_se3_is_a_group(a, b, c):
    assert ((a @ b) @ c).is_close(a @ (b @ c), 1e-9, 1e-6)
    assert (a @ a.inverse).is_close(SE3.identity(), 1e-9, 1e-6)
    assert (a @ SE3.identity()).is_close(a)


@given(poses, poses, vectors)
def test_composition_applies_right_to_left(map_from_odom, odom_from_camera, point):
    expected = map_from_odom @ (odom_from_camera @ point)
    assert np.allclose((map_from_odom @ odom_from_camera) @ point, expected)


@given(similarities, similarities, vectors)
def test_sim3_is_a_group(a, b, point):
    assert np.allclose((a @ b) @ point, a @ (b @ point))
    assert np.allclose(a.inverse @ (a @ point), point)


@given(similarities, poses)
def test_sim3_moves_the_centre_and_the_axes_of_a_pose(a_from_b, b_from_c):
    a_from_c = a_from_b.apply_to_pose(b_from_c)
    assert np.allclose(a_from_c.translation, a_from_b @ b_from_c.translation)
    assert np.allclose(a_from_c.rotation, a_from_b.rotation @ b_from_c.rotation)


@given(poses)
def test_quaternions_are_scalar_first_and_agree_with_pycolmap(pose):
    assert SE3.from_quaternion(pose.quaternion, pose.translation).is_close(pose, 1e-12, 1e-6)
    assert SE3.from_rigid3d(pose.to_rigid3d()).is_close(pose, 1e-12, 1e-6)
    x, y, z, w = pycolmap.Rotation3d(pose.rotation).quat
    assert np.allclose(np.abs(pose.quaternion @ [w, x, y, z]), 1.0)


@given(vectors, st.floats(0.1, 10.0))
def test_quaternions_are_those_of_scipy(turn, length):
    rotation = rotation_matrix(turn)
    wxyz = Rotation.from_matrix(rotation).as_quat(canonical=True, scalar_first=True)
    assert np.allclose(SE3.from_quaternion(length * wxyz, np.zeros(3)).rotation, rotation, atol=1e-14)
    found = SE3(rotation, np.zeros(3)).quaternion
    assert found[0] >= 0.0
    assert min(np.abs(found - wxyz).max(), np.abs(found + wxyz).max()) < 1e-14


def test_no_rotation_has_a_quaternion_of_length_zero():
    with pytest.raises(ValueError, match="zero"):
        SE3.from_quaternion(np.zeros(4), np.zeros(3))


@given(poses, poses)
def test_interpolation_ends_at_both_poses(a, b):
    assert a.interpolate(b, 0.0).is_close(a, 1e-9, 1e-6)
    assert a.interpolate(b, 1.0).is_close(b, 1e-9, 1e-5)


def test_interpolation_turns_at_a_constant_rate():
    quarter = SE3.from_rotation_vector([0.0, 0.0, np.pi / 2], [2.0, 0.0, 0.0])
    third = SE3.identity().interpolate(quarter, 1 / 3)
    assert np.allclose(geometry.rotation_vector(third.rotation), [0.0, 0.0, np.pi / 6])
    assert np.allclose(third.translation, [2 / 3, 0.0, 0.0])


def test_small_angles_keep_their_digits():
    turned = geometry.rotation_matrix([1e-8, 0.0, 0.0])
    assert geometry.rotation_angle_deg(np.eye(3), turned) == pytest.approx(np.degrees(1e-8), rel=1e-6)


@given(similarities)
def test_umeyama_recovers_a_similarity(target_from_source):
    source = np.random.default_rng(0).normal(size=(20, 3))
    found = geometry.umeyama(target_from_source @ source, source)
    assert found.scale == pytest.approx(target_from_source.scale, rel=1e-9)
    assert np.allclose(found.rotation, target_from_source.rotation, atol=1e-9)
    assert np.allclose(found.translation, target_from_source.translation, atol=1e-8)


def test_umeyama_never_answers_mirrored_points_with_a_reflection():
    source = np.random.default_rng(1).normal(size=(20, 3))
    assert np.linalg.det(geometry.umeyama(source * [1, 1, -1], source).rotation) == pytest.approx(1.0)


def test_umeyama_without_scale_keeps_distances():
    source = np.random.default_rng(3).normal(size=(20, 3))
    found = geometry.umeyama(3.0 * source, source, with_scale=False)
    assert found.scale == 1.0
    assert np.allclose(found.rotation, np.eye(3))


def test_mean_rotation_of_noisy_copies_is_near_the_original():
    rng = np.random.default_rng(4)
    truth = geometry.rotation_matrix([0.3, -0.4, 1.2])
    noisy = [truth @ geometry.rotation_matrix(rng.normal(scale=0.05, size=3)) for _ in range(400)]
    assert geometry.rotation_angle_deg(geometry.mean_rotation(noisy), truth) < 0.5


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, 2.5, 2.9, 3.1, np.pi - 1e-6, np.pi])
def test_rotation_vectors_are_exact_up_to_half_a_turn_singly_and_in_stacks(angle):
    axes = np.random.default_rng(0).normal(size=(20, 3))
    turns = angle * axes / np.linalg.norm(axes, axis=1)[:, None]
    rotations = np.array([geometry.rotation_matrix(turn) for turn in turns])
    for found in (geometry.rotation_vector(rotations), [geometry.rotation_vector(rotation) for rotation in rotations]):
        np.testing.assert_allclose([geometry.rotation_matrix(vector) for vector in found], rotations, atol=1e-14)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), angle, rtol=1e-6, atol=1e-15)
    assert geometry.rotation_vector(np.empty((0, 3, 3))).shape == (0, 3)
