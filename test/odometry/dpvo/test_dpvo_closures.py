"""Measured loops in the units of the poses that were given out."""

import numpy as np
import pytest

from visloc_ros.core.geometry import Sim3, rotation_matrix, rotation_vector
from visloc_ros.odometry.dpvo.point_alignment import align_points
from visloc_ros.odometry.dpvo.retrieval_loops import closure_of

PLACE_FROM_QUERY = Sim3(1.2, rotation_matrix([0.1, 0.3, -0.05]), np.array([0.4, -0.1, 0.3]))
PLACE_UNIT, QUERY_UNIT = 2.0, 0.5


def measured(noise=0.01, place_unit=1.0, query_unit=1.0):
    """Points in units of the world; what odometry gave out is ``*_unit`` times shorter."""
    rng = np.random.default_rng(0)
    depths = rng.uniform(1.5, 4.0, 100)
    query = np.column_stack((rng.uniform(-0.6, 0.6, (100, 2)) * depths[:, None], depths))
    place = (PLACE_FROM_QUERY @ query) * np.exp(rng.normal(scale=noise, size=(100, 3)))
    return align_points(query / query_unit, place / place_unit)


def test_each_end_is_told_in_its_own_unit():
    """As measured when the frames were given out: the same points, in odometry's lengths of then."""
    units = np.array([PLACE_UNIT, QUERY_UNIT])
    now, then = closure_of(1, 2, units, measured()), measured(0.01, PLACE_UNIT, QUERY_UNIT)
    told, expected = now.earlier_from_later, then.target_from_source
    assert (now.earlier_ns, now.later_ns) == (1, 2)
    assert told.scale == pytest.approx(expected.scale, rel=1e-4)
    np.testing.assert_allclose(told.translation, expected.translation, atol=1e-4)
    as_then = closure_of(1, 2, np.ones(2), then)
    np.testing.assert_allclose(np.sqrt(np.diag(now.covariance)), np.sqrt(np.diag(as_then.covariance)), rtol=0.01)


@pytest.mark.parametrize("units", [[0.0, 1.0], [1.0, 0.0]])
def test_a_frame_that_was_not_given_out_has_no_loop(units):
    assert closure_of(1, 2, np.array(units), measured()) is None


def test_points_without_errors_leave_what_all_points_of_a_frame_share():
    covariance = closure_of(1, 2, np.ones(2), measured(noise=0.0)).covariance
    rng, errors = np.random.default_rng(1), []
    for _ in range(4000):
        place, query = (
            Sim3(np.exp(rng.normal(scale=0.01)), rotation_matrix(rng.normal(scale=0.0005, size=3)), np.zeros(3))
            for _ in range(2)
        )
        wrong = place @ PLACE_FROM_QUERY @ query
        turn = rotation_vector(wrong.rotation @ PLACE_FROM_QUERY.rotation.T)
        shift = wrong.translation - PLACE_FROM_QUERY.translation
        errors.append([*shift, *turn, np.log(wrong.scale / PLACE_FROM_QUERY.scale)])
    sigmas = np.sqrt(np.diag(covariance))
    products = np.outer(sigmas, sigmas)
    np.testing.assert_allclose(np.cov(np.transpose(errors)) / products, covariance / products, atol=0.08)
