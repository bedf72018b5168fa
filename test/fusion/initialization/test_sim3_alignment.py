from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from visloc_ros.core.geometry import SE3, Sim3, rotation_angle_deg, rotation_matrix, umeyama
from visloc_ros.core.types import Reason, Rejection
from visloc_ros.fusion.config import AlignmentConfig
from visloc_ros.fusion.initialization.sim3_alignment import Alignment, PosePair, ScalePrior, align, align_robust

CONFIG = AlignmentConfig()


def random_similarity(rng):
    return Sim3(np.exp(rng.uniform(-2, 2)), Rotation.random(random_state=rng).as_matrix(), rng.normal(0, 3, 3))


def pairs_on(positions, truth, rng, sigma=0.0, sigma_deg=0.0):
    """Pairs of cameras at map positions (N, 3), with noise on the map side."""
    covariance = np.diag(np.repeat(np.square([max(sigma, 1e-3), np.deg2rad(max(sigma_deg, 0.1))]), 3))
    pairs = []
    for stamp, position in enumerate(positions):
        pose = SE3(Rotation.random(random_state=rng).as_matrix(), position)
        odom = truth.inverse.apply_to_pose(pose)
        spin = rotation_matrix(rng.normal(0, 1, 3) * np.deg2rad(sigma_deg))
        seen = SE3(spin @ pose.rotation, pose.translation + rng.normal(0, 1, 3) * sigma)
        pairs.append(PosePair(stamp, seen, odom, covariance, 0.03))
    return pairs


def straight_line(count=20, length=10.0):
    return np.linspace(0, length, count)[:, None] * np.array([[1.0, 0.0, 0.0]])


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_perfect_pairs_give_the_similarity_exactly(seed):
    rng = np.random.default_rng(seed)
    truth = random_similarity(rng)
    found = align(pairs_on(rng.normal(0, 2, (5, 3)), truth, rng)).map_from_odom
    assert found.scale == pytest.approx(truth.scale, rel=1e-9)
    np.testing.assert_allclose(found.rotation, truth.rotation, atol=1e-9)
    np.testing.assert_allclose(found.translation, truth.translation, atol=1e-8)


@pytest.mark.parametrize("seed", range(10))
def test_straight_corridor_keeps_the_rotation_that_umeyama_loses(seed):
    """10 m with 1 cm of noise: the rotation about the line comes from the orientations (docs/how_it_works.md)."""
    rng = np.random.default_rng(seed)
    truth = random_similarity(rng)
    pairs = pairs_on(straight_line(), truth, rng, sigma=0.01, sigma_deg=1.0)
    found = align_robust(pairs, CONFIG)
    assert isinstance(found, Alignment)
    assert rotation_angle_deg(found.map_from_odom.rotation, truth.rotation) <= 1.0
    assert found.map_from_odom.scale == pytest.approx(truth.scale, rel=0.01)


def test_umeyama_alone_turns_tens_of_degrees_in_the_corridor():
    errors = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = random_similarity(rng)
        pairs = pairs_on(straight_line(), truth, rng, sigma=0.01)
        targets, sources = (
            [getattr(p, f"{frame}_from_camera").translation for p in pairs] for frame in ("map", "odom")
        )
        errors.append(rotation_angle_deg(umeyama(targets, sources).rotation, truth.rotation))
    assert np.median(errors) > 20.0


def test_mirrored_positions_never_give_a_reflection():
    rng = np.random.default_rng(3)
    pairs = pairs_on(rng.normal(0, 2, (8, 3)), Sim3.identity(), rng)
    mirrored = [
        PosePair(p.stamp_ns, SE3(p.map_from_camera.rotation, -p.map_from_camera.translation), *_rest(p)) for p in pairs
    ]
    assert np.linalg.det(align(mirrored).map_from_odom.rotation) == pytest.approx(1.0)
    assert align(mirrored).map_from_odom.scale > 0


def _rest(pair):
    return pair.odom_from_camera, pair.covariance, pair.risk


@pytest.mark.parametrize("seed", range(10))
def test_outliers_are_left_out(seed):
    rng = np.random.default_rng(seed)
    truth = random_similarity(rng)
    pairs = pairs_on(rng.uniform(-2, 2, (12, 3)), truth, rng, sigma=0.01, sigma_deg=0.5)
    for index in (1, 4, 7, 8, 11):
        wrong = SE3(Rotation.random(random_state=rng).as_matrix(), rng.uniform(-5, 5, 3))
        pairs[index] = PosePair(index, wrong, pairs[index].odom_from_camera, pairs[index].covariance, 0.03)
    found = align_robust(pairs, CONFIG)
    assert isinstance(found, Alignment)
    assert set(np.flatnonzero(~found.inliers)) == {1, 4, 7, 8, 11}
    assert found.map_from_odom.scale == pytest.approx(truth.scale, rel=0.03)


def test_two_places_of_similar_support_give_neither():
    rng = np.random.default_rng(0)
    here = pairs_on(rng.uniform(-2, 2, (4, 3)), Sim3.identity(), rng)
    shifted = SE3(rotation_matrix([0, 0, 2.0]), np.array([7.0, 0, 0]))
    there = [
        PosePair(p.stamp_ns + 4, shifted @ p.map_from_camera, *_rest(p))
        for p in pairs_on(rng.uniform(-2, 2, (4, 3)), Sim3.identity(), rng)
    ]
    refused = align_robust([*here, *there], CONFIG)
    assert isinstance(refused, Rejection)
    assert refused.reason is Reason.SCALE_UNSET
    assert refused.counts["elsewhere"] == 4
    assert isinstance(align_robust([*here, *there[:3]], CONFIG), Rejection)
    assert isinstance(align_robust([*here, *there[:2]], CONFIG), Alignment)


def test_standing_still_is_degenerate_motion():
    rng = np.random.default_rng(1)
    pairs = pairs_on(np.zeros((8, 3)), random_similarity(rng), rng, sigma=0.01, sigma_deg=0.5)
    refused = align_robust(pairs, CONFIG)
    assert isinstance(refused, Rejection)
    assert refused.reason in (Reason.DEGENERATE_MOTION, Reason.SCALE_UNSET)
    same_spot = align(pairs_on(np.zeros((4, 3)), Sim3.identity(), rng))
    assert same_spot.scale_sigma == np.inf
    assert np.all(np.isfinite(same_spot.map_from_odom.translation))


def test_a_prior_gives_the_scale_of_a_standing_camera():
    rng = np.random.default_rng(2)
    truth = random_similarity(rng)
    pairs = pairs_on(np.zeros((6, 3)), truth, rng, sigma=0.01, sigma_deg=0.5)
    found = align_robust(pairs, CONFIG, ScalePrior(np.log(truth.scale), 0.05))
    assert isinstance(found, Alignment)
    assert found.map_from_odom.scale == pytest.approx(truth.scale, rel=0.05)
    assert found.scale_sigma == pytest.approx(0.05)


@pytest.mark.parametrize(("risk", "needed"), [(0.01, 2), (0.05, 3), (0.3, 8)])
def test_so_many_anchors_must_agree_that_they_are_hardly_all_wrong(risk, needed):
    rng = np.random.default_rng(4)
    pairs = [replace(pair, risk=risk) for pair in pairs_on(rng.uniform(-2, 2, (needed, 3)), Sim3.identity(), rng)]
    assert isinstance(align_robust(pairs[:-1], CONFIG), Rejection)
    assert isinstance(align_robust(pairs, CONFIG), Alignment)


def test_scale_sigma_follows_noise_over_spread():
    """sigma / (sqrt(n) * spread), spread being the root mean square distance from the centre."""
    rng = np.random.default_rng(5)
    positions = rng.normal(0, 1.5, (400, 3))
    pairs = pairs_on(positions, Sim3.identity(), rng, sigma=0.05, sigma_deg=1.0)
    spread = np.sqrt(np.square(positions - positions.mean(axis=0)).sum(axis=1).mean())
    assert align(pairs).scale_sigma == pytest.approx(0.05 / (np.sqrt(400) * spread), rel=0.15)


def test_errors_are_as_large_as_the_covariance_says():
    squared = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = random_similarity(rng)
        found = align(pairs_on(rng.uniform(-2, 2, (8, 3)), truth, rng, sigma=0.02, sigma_deg=1.0))
        turned = Rotation.from_matrix(truth.rotation @ found.map_from_odom.rotation.T).as_rotvec()
        moved = truth.translation - found.map_from_odom.translation
        error = np.concatenate([moved, turned, [np.log(truth.scale / found.map_from_odom.scale)]])
        squared.append(error @ np.linalg.solve(found.covariance, error))
    assert 5.0 < np.mean(squared) < 9.0  # 7 degrees of freedom; 60 runs scatter by 0.5


def test_no_pairs_and_one_pair():
    with pytest.raises(ValueError, match="no pairs"):
        align([])
    refused = align_robust([], CONFIG)
    assert isinstance(refused, Rejection)
    assert refused.reason is Reason.SCALE_UNSET
