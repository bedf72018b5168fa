"""Chains that close: known drift is taken out, and what nothing contradicts stays as it is."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from visloc_ros.core.geometry import SE3, Sim3, umeyama
from visloc_ros.odometry.dpvo.loop_correction import SimilarityEdges, chain_edges, optimise
from visloc_ros.odometry.dpvo.similarities import Similarities

SIDE = 20


def square_loop():
    """Camera_from_world of a walk along a square of 10 x 10 units that looks ahead and ends where it began."""
    corners = np.array([[0, 0, 0], [10, 0, 0], [10, 0, 10], [0, 0, 10], [0, 0, 0]], dtype=np.float64)
    steps = np.linspace(0.0, 1.0, SIDE, endpoint=False)
    centres = np.concatenate([a + np.outer(steps, b - a) for a, b in pairwise(corners)])
    turns = Rotation.from_euler("y", np.repeat([0.0, 90.0, 180.0, 270.0], SIDE)[:, None], degrees=True).as_matrix()
    centres, turns = np.vstack((centres, corners[-1:])), np.concatenate((turns, turns[:1]))
    return Similarities.from_poses(turns, centres).inverse


def drifted(truth, units):
    """The same walk as odometry sees it whose unit of length shrinks: lengths at camera f grow by ``units[f]``."""
    poses = [SE3(truth.rotations[0], truth.translations[0])]
    for f in range(1, len(truth)):
        step = truth.member(f) @ truth.member(f - 1).inverse
        poses.append(SE3(step.rotation, units[f] * step.translation) @ poses[-1])
    return Similarities.stack(*poses)


def loop_edge(truth, query, place, units):
    """What Umeyama measures: place_from_query, each camera's points in its own unit."""
    relative = truth.member(place) @ truth.member(query).inverse
    in_units = Sim3(units[place], np.eye(3), np.zeros(3)) @ relative @ Sim3(1 / units[query], np.eye(3), np.zeros(3))
    return SimilarityEdges(np.array([query]), np.array([place]), Similarities.stack(in_units))


def error(truth, cameras):
    target, source = truth.inverse.translations, cameras.inverse.translations
    moved = umeyama(target, source) @ source
    return float(np.sqrt(np.square(moved - target).sum(axis=1).mean()))


def test_a_square_loop_with_known_scale_drift_is_recovered():
    truth = square_loop()
    last = len(truth) - 1
    units = np.exp(np.linspace(0.0, 0.4, len(truth)))
    start = drifted(truth, units)
    edges = SimilarityEdges.concatenate(chain_edges(start), loop_edge(truth, last, 0, units))
    result = optimise(start, edges, fixed=0)
    assert error(truth, start) > 0.5
    assert error(truth, result.cameras) < 0.02
    np.testing.assert_allclose(result.cameras.scales, units, rtol=0.01)
    assert result.mean_squares[-1] < 1e-5 < result.mean_squares[0]
    assert len(result.mean_squares) <= 10


def test_the_fixed_camera_holds_place_and_scale():
    truth = square_loop()
    last = len(truth) - 1
    units = np.exp(np.linspace(0.0, 0.4, len(truth)))
    start = drifted(truth, units)
    edges = SimilarityEdges.concatenate(chain_edges(start), loop_edge(truth, last, 0, units))
    cameras = optimise(start, edges, fixed=last).cameras
    np.testing.assert_array_equal(cameras.translations[last], start.translations[last])
    assert cameras.scales[last] == 1.0
    np.testing.assert_allclose(cameras.scales[0], 1.0 / units[last], rtol=0.01)


def test_turns_are_corrected_too():
    truth = square_loop()
    yaw = Rotation.from_euler("y", 0.5, degrees=True).as_matrix()
    poses = [SE3(truth.rotations[0], truth.translations[0])]
    for f in range(1, len(truth)):
        step = truth.member(f) @ truth.member(f - 1).inverse
        poses.append(SE3(yaw @ step.rotation, yaw @ step.translation) @ poses[-1])
    start = Similarities.stack(*poses)
    edges = SimilarityEdges.concatenate(chain_edges(start), loop_edge(truth, len(truth) - 1, 0, np.ones(len(truth))))
    result = optimise(start, edges, fixed=0)
    assert error(truth, start) > 1.0
    assert error(truth, result.cameras) < 0.15


def test_contradictions_are_shared_out_as_least_squares_ask():
    """No small move of a camera lowers the sum of squares, however large the residuals that remain."""
    truth = square_loop().take(np.array([0, 10, 30]))
    a, b = np.array([0, 1, 2]), np.array([1, 2, 0])
    bend = Similarities.exp([[0.3, -0.2, 0.4, 0.5, 0.8, -0.3, 0.4]] * 3)
    edges = SimilarityEdges(a, b, bend @ SimilarityEdges.between(truth, a, b).b_from_a)
    cameras = optimise(truth, edges, fixed=0).cameras
    step = 1e-5

    def sum_of_squares(moves):
        return np.square(edges.residuals(Similarities.exp(moves) @ cameras)).sum()

    def slope(camera, axis):
        moves = np.zeros((3, 7))
        moves[camera, axis] = step
        return (sum_of_squares(moves) - sum_of_squares(-moves)) / (2.0 * step)

    assert sum_of_squares(np.zeros((3, 7))) > 0.5
    assert max(abs(slope(camera, axis)) for camera in (1, 2) for axis in range(7)) < 1e-3


def test_a_chain_without_contradiction_stays():
    cameras = square_loop()
    result = optimise(cameras, chain_edges(cameras), fixed=3)
    np.testing.assert_allclose(result.cameras.translations, cameras.translations, atol=1e-9)
    np.testing.assert_allclose(result.cameras.scales, 1.0, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_start_does_not_matter_near_the_solution(seed):
    truth = square_loop()
    edges = SimilarityEdges.concatenate(chain_edges(truth), loop_edge(truth, len(truth) - 1, 0, np.ones(len(truth))))
    noise = 0.05 * np.random.default_rng(seed).normal(size=(len(truth), 7))
    noise[0] = 0.0
    result = optimise(Similarities.exp(noise) @ truth, edges, fixed=0)
    np.testing.assert_allclose(result.cameras.translations, truth.translations, atol=0.02)
    assert result.mean_squares[-1] < 1e-6
