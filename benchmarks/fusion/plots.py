"""Pictures of simulated runs through the fusion: one run in the course of time, and how errors are distributed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes

from benchmarks.fusion.scores import FUSED, RunScore
from benchmarks.fusion.summary import ScenarioFigures
from visloc_ros.core.geometry import Array
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, style, to_png

SHOWN = {
    FUSED: LIGHT.fused,
    "piecewise Umeyama, 10": LIGHT.anchor,
    "single Umeyama": LIGHT.warn,
    "SE3 only, 10": LIGHT.points,
}
"""Methods and their colours, the one that matters first."""
TICKS_CM = (1, 3, 10, 30, 100, 300)

Content = TypeVar("Content")


def draw_runs(scores: Mapping[str, RunScore]) -> bytes:
    """PNG with the position errors of one run of each scenario in the course of time, by method."""
    return _draw(scores, _draw_run)


def draw_distributions(errors: Mapping[str, Mapping[str, Array]]) -> bytes:
    """PNG with the share of frames (0 to 1) below each error in cm, from errors in metres by scenario and method."""
    return _draw(errors, _draw_distribution)


def draw_sweeps(sweeps: Mapping[str, Mapping[float, ScenarioFigures]]) -> bytes:
    """PNG with the median position errors over what is varied, a plot for each."""
    return _draw(sweeps, _draw_sweep)


def pooled_errors(scores: Sequence[RunScore]) -> dict[str, Array]:
    """Position errors in metres of all frames of all runs, by method."""
    pooled = {}
    for name in SHOWN:
        values = np.concatenate([score.methods[name].position for score in scores])
        pooled[name] = values[np.isfinite(values)]
    return pooled


def _draw(scenarios: Mapping[str, Content], draw: Callable[[Axes, str, Content], None]) -> bytes:
    """A plot a scenario, and one legend for all."""
    with style():
        figure = new_figure(4.2 * len(scenarios), 3.4)
        columns = figure.subplots(1, len(scenarios), squeeze=False)[0]
        for axes, (name, content) in zip(columns, scenarios.items(), strict=True):
            draw(axes, name, content)
        figure.legend(*columns[0].get_legend_handles_labels(), loc="outside lower left", ncols=len(SHOWN), reverse=True)
        return to_png(figure)


def _draw_run(axes: Axes, name: str, score: RunScore) -> None:
    axes.set_title(f"{name}: one run")
    for method, color in reversed(SHOWN.items()):
        axes.plot(score.seconds, 100.0 * score.methods[method].position, color=color, label=method)
    axes.set(xlabel="s", ylabel="position error, cm", yscale="log", ylim=(TICKS_CM[0], TICKS_CM[-1]))
    axes.set_yticks(TICKS_CM, labels=map(str, TICKS_CM))


def _draw_sweep(axes: Axes, name: str, sweep: Mapping[float, ScenarioFigures]) -> None:
    axes.set_title("median over all runs")
    for method, color in reversed(SHOWN.items()):
        errors_cm = [100.0 * figures.methods[method].median_m for figures in sweep.values()]
        axes.plot(list(sweep), errors_cm, "o-", markersize=3.0, color=color, label=method)
    axes.set(xlabel=name, ylabel="position error, cm", yscale="log", ylim=(TICKS_CM[0], TICKS_CM[-1]))
    axes.set_yticks(TICKS_CM, labels=map(str, TICKS_CM))


def _draw_distribution(axes: Axes, name: str, methods: Mapping[str, Array]) -> None:
    axes.set_title(f"{name}: all runs")
    shares = np.linspace(0.0, 1.0, 501)
    for method, color in reversed(SHOWN.items()):
        axes.plot(100.0 * np.quantile(methods[method], shares), shares, color=color, label=method)
    axes.set(xlabel="position error, cm", ylabel="share of frames", xscale="log", ylim=(0.0, 1.0))
    axes.set(xlim=(TICKS_CM[0], TICKS_CM[-1]))
    axes.set_xticks(TICKS_CM, labels=map(str, TICKS_CM))
