"""Scores and summaries of simulated fusion runs."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.fusion.scores import BASELINES, FUSED, score
from benchmarks.fusion.summary import autocorrelation, autocorrelation_time, nees_figures, summarise_runs
from testing.fusion_scenario import EXACT

SHORT = replace(EXACT, duration_s=15.0, rate_hz=5.0)


def test_a_perfect_run_has_a_perfect_score():
    result = score(SHORT, 0)
    assert set(result.methods) == {FUSED, *BASELINES}
    assert np.nanmax(result.methods[FUSED].position) < 1e-6
    assert not result.diverged
    assert result.first_fix_s == pytest.approx(3.5, abs=1.1)
    assert result.odom_jump < 1e-9
    assert result.scale_error < 1e-6
    assert (result.accepted_outlier_share, result.whitened.shape) == (0.0, (75, 6))


def correlated_squares(runs, count, correlation, rng):
    """Squares of six Gaussian errors of unit variance; each keeps a share of the one before."""
    errors = np.empty((runs, count, 6))
    errors[:, 0] = rng.normal(size=(runs, 6))
    for row in range(1, count):
        fresh = rng.normal(size=(runs, 6)) * np.sqrt(1.0 - correlation**2)
        errors[:, row] = correlation * errors[:, row - 1] + fresh
    return np.square(errors).sum(axis=2)


@pytest.mark.parametrize("correlation", [0.0, 0.8, 0.95])
def test_consistent_errors_are_found_consistent_however_correlated_neighbours_are(correlation):
    squares = correlated_squares(400, 200, correlation, np.random.default_rng(1))
    found = nees_figures(list(squares))
    expected = (1.0 + correlation**2) / (1.0 - correlation**2)  # of a first-order process, whose squares have r^2
    assert found.autocorrelation_time == pytest.approx(expected, rel=0.2)
    assert found.anees == pytest.approx(1.0, abs=0.05)
    assert found.runs_in_band_share == pytest.approx(0.95, abs=0.03)
    assert found.instants_in_band_share == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("factor", [0.4, 2.0])
def test_covariances_too_small_or_too_large_fall_out_of_the_band(factor):
    squares = factor * correlated_squares(100, 200, 0.8, np.random.default_rng(2))
    found = nees_figures(list(squares))
    assert found.anees == pytest.approx(factor, rel=0.1)
    assert found.runs_in_band_share < 0.3


def test_frames_without_a_pose_show_nothing():
    found = nees_figures([np.full(10, np.nan), np.array([np.nan, 6.0, 6.5])])
    assert found.anees == pytest.approx(6.25 / 6)
    assert np.isnan(nees_figures([np.full(10, np.nan)]).anees)
    assert autocorrelation_time(10, autocorrelation([np.array([1.0, -1.0] * 5)])) == 1.0


def test_summary_of_a_few_runs():
    scores = [score(replace(SHORT, anchor_sigma=0.02, outlier_share=0.2), seed) for seed in range(3)]
    figures = summarise_runs(scores)
    assert figures.runs == 3
    assert 0.0 < figures.methods[FUSED].median_m < figures.methods[FUSED].p95_m < 0.2
    assert figures.methods[FUSED].diverged_share == 0.0
    assert figures.odom_jump < 1e-9
    assert 2.0 < figures.first_fix_s < 10.0


def test_a_run_that_was_never_fixed_is_counted_not_hidden():
    figures = summarise_runs([score(replace(SHORT, path="still"), 0)])
    assert (figures.never_fixed, figures.runs) == (1, 1)
    assert np.isnan(figures.first_fix_s)
    assert np.isnan(figures.methods[FUSED].median_m)
