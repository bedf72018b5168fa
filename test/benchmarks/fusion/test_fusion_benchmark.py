"""The fusion benchmark on a run or two, and what it calls reached."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.fusion import simulated_runs
from benchmarks.fusion.scenarios import EXPERIMENTS
from benchmarks.fusion.scores import BASELINES, FUSED
from benchmarks.fusion.summary import MethodFigures, NeesFigures, ScenarioFigures
from benchmarks.fusion.tables import acceptance_table
from testing.fusion_scenario import PATHS

GOOD = MethodFigures(0.05, 0.1, 0.5, 0.9, 0.0)
PLAIN = MethodFigures(0.1, 0.3, 60.0, 120.0, 0.2)
FIGURES = ScenarioFigures(
    runs=100,
    methods={FUSED: GOOD, **dict.fromkeys(BASELINES, PLAIN)},
    nees=NeesFigures(anees=1.0, autocorrelation_time=10.0, runs_in_band_share=0.95, instants_in_band_share=0.95),
    localized_share=1.0,
    first_fix_s=3.5,
    first_fix_p95_s=4.5,
    never_fixed=0,
    odom_jump=1e-15,
    scale_error=0.003,
    scale_error_p95=0.008,
    accepted_outlier_share=0.0,
    rejected_inlier_share=0.0,
)


def verdicts(**changes):
    """The last column of the acceptance table, where every scenario went as ``FIGURES``, but for the changed ones."""
    figures = {name: changes.get(name.replace(" ", "_"), FIGURES) for name in EXPERIMENTS}
    return [line.split("|")[-2].strip() for line in acceptance_table(figures).splitlines()[2:]]


def with_fused(figures, **values):
    return replace(figures, methods={**figures.methods, FUSED: replace(figures.methods[FUSED], **values)})


def test_what_is_good_is_reached():
    assert set(verdicts()) == {"yes"}


@pytest.mark.parametrize(
    "changes",
    [
        {"outliers": with_fused(FIGURES, diverged_share=0.002)},
        {"stairs": with_fused(FIGURES, diverged_share=0.01)},
        {"late": with_fused(FIGURES, median_m=0.2)},
        {"turns": replace(FIGURES, odom_jump=1e-3)},
        {"corridor": with_fused(FIGURES, p95_deg=1.2)},
        {"corridor": replace(FIGURES, scale_error_p95=0.02)},
    ],
)
def test_what_is_not_is_said(changes):
    assert verdicts(**changes).count("no") == 1


def test_most_scenarios_decide_on_errors_and_consistency():
    names = [name.replace(" ", "_") for name in EXPERIMENTS]
    far = verdicts(**dict.fromkeys(names, with_fused(FIGURES, median_m=0.07)))
    assert far.count("no") == 2
    overconfident = replace(FIGURES, nees=replace(FIGURES.nees, runs_in_band_share=0.5))
    assert verdicts(**dict.fromkeys(names, overconfident)).count("no") == 1


def test_scenarios_are_of_every_path_and_have_a_purpose():
    assert {experiment.scenario.path for experiment in EXPERIMENTS.values()} == set(PATHS) - {"still"}
    assert all(experiment.purpose for experiment in EXPERIMENTS.values())


def test_figures_and_tables_are_written(tmp_path, monkeypatch):
    options = "--seeds 1 --processes 1 --scenarios usual corridor"
    files = "--json fusion.json --markdown f.md"
    monkeypatch.setattr(sys, "argv", ["simulated_runs", *options.split(), *files.split()])
    monkeypatch.chdir(tmp_path)
    simulated_runs.main()
    figures = json.loads(Path("fusion.json").read_text(encoding="utf-8"))
    assert set(figures["scenarios"]) == {"usual", "corridor"}
    assert 0.0 < figures["scenarios"]["usual"]["methods"][FUSED]["median_m"] < 0.3
    assert figures["scenarios"]["usual"]["odom_jump"] < 1e-9
    text = Path("f.md").read_text(encoding="utf-8")
    for section in ("What it must show", "The fusion"):
        assert f"\n## {section}\n" in text
