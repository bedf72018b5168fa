"""NEES and NIS against chi-square: consistent, overconfident and conservative covariances, and correlated values."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import chi2
from synthetic_run import make_synthetic_run

from visloc_ros.core.types import Support
from visloc_ros.evaluation.consistency import Consistency, independent_count, mean_band
from visloc_ros.evaluation.records import InnovationRecord
from visloc_ros.evaluation.summary import summarize
from visloc_ros.evaluation.table import summary_rows
from visloc_ros.fusion.innovation import Innovation

RNG_SEED = 4


def test_consistent_values_are_inside_both_bands():
    found = Consistency.of(chi2.rvs(6, size=3000, random_state=RNG_SEED))
    assert found.mean_band[0] < found.mean < found.mean_band[1]
    assert found.share_in_band == pytest.approx(0.95, abs=0.012)
    assert found.share_above_band == pytest.approx(0.025, abs=0.01)
    assert found.independent > 2000


@pytest.mark.parametrize(("factor", "above"), [(4.0, True), (0.25, False)])
def test_covariances_off_by_four_are_reported(factor, above):
    found = Consistency.of(factor * chi2.rvs(6, size=500, random_state=RNG_SEED))
    assert (found.mean > found.mean_band[1]) is above
    assert (found.mean < found.mean_band[0]) is not above
    assert (found.share_above_band > 0.5) is above


def test_band_of_the_mean_is_that_of_the_chi_square_sum():
    low, high = mean_band(10)
    assert (low, high) == pytest.approx((chi2.ppf(0.025, 60) / 10, chi2.ppf(0.975, 60) / 10))


def test_errors_that_last_count_once():
    """Fifty independent errors, each seen in twenty frames, are about fifty."""
    repeated = np.repeat(chi2.rvs(6, size=50, random_state=RNG_SEED), 20)
    assert 25 <= independent_count(repeated) <= 100
    assert independent_count(np.full(30, 6.0)) == 1
    assert independent_count(np.array([6.0])) == 1


def test_unknown_values_are_left_out():
    assert Consistency.of([np.nan, np.inf]) is None
    assert Consistency.of([np.nan, 6.0]).count == 1


def test_innovation_is_normalised_by_its_own_covariance():
    innovation = Innovation(5, "anchor", np.array([0.2, 0, 0, 0, 0, 0.1]), np.diag([0.01] * 3 + [0.0025] * 3), True)
    assert innovation.squared == pytest.approx(8.0)
    assert InnovationRecord.from_innovation(innovation) == InnovationRecord(5, "anchor", pytest.approx(8.0), True)


def test_summary_shows_innovations_by_their_source():
    run = make_synthetic_run(600)
    tracked = [InnovationRecord(frame.stamp_ns, "tracked", 60.0, True) for frame in run.frames]
    summary = summarize(dataclasses.replace(run, innovations=(*run.innovations, *tracked)))
    assert set(summary["nis"]) == {"anchor", "tracked"}
    assert summary["nis"]["tracked"]["mean"] == pytest.approx(60.0)
    assert summary["nis"]["tracked"]["share_above_band"] == 1.0
    assert summary["nis"]["anchor"]["median"] < 14.0


def test_shares_of_frames_by_what_they_rest_on():
    run = make_synthetic_run(600)
    summary = summarize(run)
    assert sum(summary["frames_by_support"].values()) == summary["localized_frames"]
    assert summary["frames_by_support"]["ODOMETRY"] == sum(f.support is Support.ODOMETRY for f in run.frames)
    words = {row.label: row.value for row in summary_rows(summary)}
    assert "map tracking" in words["pose rests on"]
    assert "95 % band" in words["covariance (NEES, 6 is consistent)"]
    assert "95 % band" in words["innovation of anchor (NIS, 6 is consistent)"]
