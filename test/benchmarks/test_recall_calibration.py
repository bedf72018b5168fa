"""Expected recalls are fitted and compared as they must be, by outcomes drawn from a known model."""

import numpy as np
import pytest

from benchmarks.calibration import fit_recall, likelihood, places_table, reliability
from visloc_ros.localization.coverage import RecallModel
from visloc_ros.localization.seen_points import Support

MODEL = RecallModel(-8.0, 1.5, 3.0)


@pytest.fixture(scope="module")
def judged():
    rng = np.random.default_rng(0)
    supports = [Support(float(np.exp(rng.uniform(0.0, 6.0))), float(rng.uniform(0.0, 1.0))) for _ in range(4000)]
    return [(one, bool(rng.random() < MODEL.recall(one))) for one in supports]


def test_the_model_that_made_the_outcomes_is_found(judged):
    fitted = fit_recall(judged)
    assert fitted.constant == pytest.approx(MODEL.constant, abs=0.8)
    assert fitted.per_log_points == pytest.approx(MODEL.per_log_points, abs=0.15)
    assert fitted.per_spread == pytest.approx(MODEL.per_spread, abs=0.4)
    assert likelihood(fitted, judged) >= likelihood(MODEL, judged) - 1e-4
    assert likelihood(MODEL, judged) > likelihood(RecallModel(0.0, 0.0, 0.0), judged) + 0.1


def test_a_true_model_is_reliable_and_a_wrong_one_is_not(judged):
    assert all(found == pytest.approx(expected, abs=0.05) for _, _, expected, found in reliability(MODEL, judged))
    too_sure = RecallModel(-4.0, 1.5, 3.0)
    assert any(found < expected - 0.2 for _, _, expected, found in reliability(too_sure, judged))
    assert sum(images for _, images, _, _ in reliability(MODEL, judged)) == len(judged)


def test_the_table_compares_with_a_constant_recall(judged):
    *_, row = places_table(MODEL, {"here": judged}, ["here"]).splitlines()
    name, images, found, expected, brier, constant = (cell.strip() for cell in row.strip("|").split("|"))
    assert (name, images) == ("here (fitted)", "4000")
    assert abs(int(found.strip("%")) - int(expected.strip("%"))) <= 2
    assert float(brier) < 0.6 * float(constant)
