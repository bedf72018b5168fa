import numpy as np

from visloc_ros.fusion.smoothing.arrowhead import ArrowheadSystem
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors


def random_factors(rng, count):
    """Unary factors of all states and motions between them, and how the motions depend on the shared unknown."""
    square = rng.normal(size=(2 * count - 1, 7, 7))
    information = square @ np.swapaxes(square, 1, 2) + np.eye(7)
    every, starts = np.arange(count), np.arange(count - 1)
    unary = LinearFactors(every, rng.normal(size=(count, 7)), rng.normal(size=(count, 7, 7)), information[:count])
    jacobians, ahead = rng.normal(size=(2, count - 1, 7, 7))
    binary = LinearFactors(
        starts, rng.normal(size=(count - 1, 7)), jacobians, information[count:], ahead, rng.normal(size=(count - 1, 7))
    )
    return unary, binary


def dense(count, unary, binary, prior):
    """The same least squares with plain matrices: information (7 N + 1, 7 N + 1) and gradient."""
    information, gradient = np.zeros((7 * count + 1,) * 2), np.zeros(7 * count + 1)
    for index in range(count):
        rows = np.zeros((7, 7 * count + 1))
        rows[:, 7 * index : 7 * index + 7] = unary.jacobians[index]
        information += rows.T @ unary.information[index] @ rows
        gradient += rows.T @ unary.information[index] @ unary.residuals[index]
    for index in range(count - 1):
        rows = np.zeros((7, 7 * count + 1))
        rows[:, 7 * index : 7 * index + 7] = binary.jacobians[index]
        rows[:, 7 * index + 7 : 7 * index + 14] = binary.second_jacobians[index]
        rows[:, -1] = binary.shared_jacobians[index]
        information += rows.T @ binary.information[index] @ rows
        gradient += rows.T @ binary.information[index] @ binary.residuals[index]
    head = [*range(7), 7 * count]
    information[np.ix_(head, head)] += prior
    return information, gradient


def system_of(count, seed):
    rng = np.random.default_rng(seed)
    unary, binary = random_factors(rng, count)
    prior, system = np.diag(rng.uniform(1, 2, 8)), ArrowheadSystem(count)
    system.add(unary)
    system.add(binary)
    system.add_prior(prior, np.zeros(8))
    return system, *dense(count, unary, binary, prior)


def test_the_border_changes_nothing_of_the_least_squares():
    system, information, gradient = system_of(5, 0)
    found, covariance = system.solve(), np.linalg.inv(information)
    step = covariance @ gradient
    np.testing.assert_allclose(found.steps.reshape(-1), step[:-1], atol=1e-9)
    np.testing.assert_allclose(found.shared_step, step[-1], atol=1e-9)
    np.testing.assert_allclose(found.variance, covariance[-1, -1], atol=1e-9)
    for index in range(5):
        own = slice(7 * index, 7 * index + 7)
        np.testing.assert_allclose(found.covariances[index], covariance[own, own], atol=1e-9)
        np.testing.assert_allclose(found.shared[index], covariance[own, -1], atol=1e-9)
    for index in range(4):
        own, following = slice(7 * index, 7 * index + 7), slice(7 * index + 7, 7 * index + 14)
        np.testing.assert_allclose(found.cross[index, 0], covariance[own, following], atol=1e-9)


def test_what_remains_without_the_first_state_is_its_exact_marginal():
    system, information, gradient = system_of(2, 1)
    remaining, pull = system.marginalise_first()
    covariance = np.linalg.inv(information)
    np.testing.assert_allclose(np.linalg.inv(remaining), covariance[7:, 7:], atol=1e-9)
    np.testing.assert_allclose(np.linalg.solve(remaining, pull), (covariance @ gradient)[7:], atol=1e-9)


def test_factors_between_far_states_change_nothing_of_the_least_squares():
    """Against plain matrices: two states that are not neighbours, and one joined to two others."""
    rng = np.random.default_rng(3)
    system, information, gradient = system_of(6, 1)
    root = rng.normal(size=(2, 7, 7))
    loops = LinearFactors(
        np.array([0, 1]),
        rng.normal(size=(2, 7)),
        rng.normal(size=(2, 7, 7)),
        root @ np.swapaxes(root, 1, 2) + np.eye(7),
        rng.normal(size=(2, 7, 7)),
        ahead=np.array([5, 3]),
    )
    alone = np.linalg.solve(information, gradient)
    covariance_alone = np.linalg.inv(information)
    rows = np.zeros((2, 7, 43))
    for index, (first, second) in enumerate(zip(loops.first, loops.second, strict=True)):
        rows[index, :, 7 * first : 7 * first + 7] = loops.jacobians[index]
        rows[index, :, 7 * second : 7 * second + 7] = loops.second_jacobians[index]
        information += rows[index].T @ loops.information[index] @ rows[index]
        gradient += rows[index].T @ loops.information[index] @ loops.residuals[index]
    system.add_low_rank(loops)
    found, covariance = system.solve(), np.linalg.inv(information)
    step = covariance @ gradient
    np.testing.assert_allclose(np.append(found.steps.ravel(), found.shared_step), step, atol=1e-9)
    np.testing.assert_allclose(np.append(*system.step()), step, atol=1e-9)
    np.testing.assert_allclose(found.variance, covariance[-1, -1], atol=1e-9)
    for index in range(6):
        own, following = slice(7 * index, 7 * index + 7), slice(7 * index + 7, 7 * index + 14)
        np.testing.assert_allclose(found.covariances[index], covariance[own, own], atol=1e-9)
        np.testing.assert_allclose(found.shared[index], covariance[own, -1], atol=1e-9)
        if index < 5:
            np.testing.assert_allclose(found.cross[index, 0], covariance[own, following], atol=1e-9)
    error = loops.residuals[1] - rows[1] @ alone
    expected = np.linalg.inv(loops.information[1]) + rows[1] @ covariance_alone @ rows[1].T
    np.testing.assert_allclose(
        system.joint_innovation().squared(1), error @ np.linalg.solve(expected, error), rtol=1e-6
    )
