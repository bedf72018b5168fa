"""Summaries of runs held against earlier ones: what is worse, what is not, and what cannot be compared."""

import json

import pytest
import typer

from visloc_ros.apps.command_run import WORSE, check_regression
from visloc_ros.apps.console import console
from visloc_ros.core.errors import ConfigError
from visloc_ros.evaluation.regression import FIGURES, compare_with_baseline, read_baseline

SUMMARY = {
    "frames": 250,
    "localized_share_after_first_fix": 0.99,
    "time_to_first_fix_s": 1.2,
    "position_error_m": {"median": 0.03, "p95": 0.06, "max": 0.1},
    "rotation_error_deg": {"median": 1.4, "p95": 3.0, "max": 4.0},
    "anchor_position_error_m": {"median": 0.026, "p95": 0.05, "max": 0.06},
}


def worse(summary, baseline=SUMMARY):
    return [one.figure.path for one in compare_with_baseline(summary, baseline) if one.is_worse]


def changed(path, value):
    outer, _, inner = path.partition(".")
    return SUMMARY | {outer: {**SUMMARY[outer], inner: value} if inner else value}


def test_the_same_run_is_not_worse_and_all_figures_are_compared():
    assert worse(SUMMARY) == []
    assert len(compare_with_baseline(SUMMARY, SUMMARY)) == len(FIGURES)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.path)
def test_each_figure_alone_can_be_worse_and_better(figure):
    (before,) = (one.before for one in compare_with_baseline(SUMMARY, SUMMARY) if one.figure is figure)
    limit, sign = figure.limit(before), -1.0 if figure.higher_is_better else 1.0
    assert worse(changed(figure.path, limit)) == []
    assert worse(changed(figure.path, limit + sign * 1e-6)) == [figure.path]
    assert worse(changed(figure.path, before - sign * 0.5 * before)) == []
    assert worse(changed(figure.path, None)) == [figure.path]
    assert worse(changed(figure.path, float("nan"))) == [figure.path]


def test_what_the_earlier_run_did_not_know_is_not_compared():
    without_truth = {name: SUMMARY[name] for name in list(SUMMARY)[:3]}
    assert len(compare_with_baseline(SUMMARY, without_truth)) == 2


def test_another_recording_and_a_run_without_figures_are_refused():
    with pytest.raises(ConfigError, match="another recording"):
        compare_with_baseline(SUMMARY, SUMMARY | {"frames": 251})
    with pytest.raises(ConfigError, match="no figure to compare"):
        compare_with_baseline(SUMMARY, {"frames": 250, "time_to_first_fix_s": None})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"frames": "many"}', "[" * 100_000])
def test_a_baseline_that_is_none_is_refused_in_words(tmp_path, text):
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"summary\.json"):
        read_baseline(path)


def test_a_baseline_comes_back(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(SUMMARY))
    assert read_baseline(path) == SUMMARY


def test_scripts_are_reported_by_the_exit_code(capsys, monkeypatch):
    monkeypatch.setattr(console, "stderr", False)  # a command with --json may have run in this process
    check_regression(SUMMARY, SUMMARY)
    with pytest.raises(typer.Exit) as ended:
        check_regression(SUMMARY, changed("position_error_m.median", 0.05))
    assert ended.value.exit_code == WORSE
    assert "missed" in capsys.readouterr().out
