"""Pictures of the odometry benchmark: paths beside the truth, times a frame, memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from benchmarks.results_file import Figures
from visloc_ros.core.trajectory import read_tum
from visloc_ros.core.types import OdometryPose
from visloc_ros.evaluation import evaluate_odometry
from visloc_ros.evaluation.drawing import put_legend_above
from visloc_ros.evaluation.odometry_plots import draw_errors, draw_paths
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, say_nothing_to_show, style, to_png
from visloc_ros.evaluation.table import BUDGETS_MS
from visloc_ros.sources import open_source


def write_paths(path: Path, data: Path, reports: dict[str, Figures]) -> None:
    """The live run of median ATE of each sequence: its path beside the truth, and its error in the course of time."""
    with style():
        figure = new_figure(4.2 * len(reports), 6.0)
        columns = figure.subplots(2, len(reports), height_ratios=(2, 1), squeeze=False).T
        for axes, (name, report) in zip(columns, reports.items(), strict=True):
            draw_run(axes, name, data / name, middle_run(report["live"]))
        path.write_bytes(to_png(figure))


def middle_run(runs: Sequence[Figures]) -> Figures:
    """The run whose ATE is the median; of runs without any, the first."""
    known = sorted((run for run in runs if run["ate_sim3_m"] is not None), key=lambda run: run["ate_sim3_m"])
    return known[len(known) // 2] if known else runs[0]


def draw_run(axes: Sequence[Axes], name: str, folder: Path, run: Figures) -> None:
    """One path beside the truth, seen along its flattest direction, and below it its error."""
    if run["ate_sim3_m"] is None:
        axes[0].set_title(name)
        say_nothing_to_show(axes[0], "never started")
        return
    trajectory, truth = read_tum(Path(run["path"])), open_source(folder).ground_truth
    pairs = zip(trajectory.stamps_ns, trajectory.poses, strict=True)
    poses = [OdometryPose(int(stamp), pose, 0, 0) for stamp, pose in pairs]
    errors = evaluate_odometry(poses, truth)
    draw_paths(axes[0], poses, errors, truth)
    draw_errors(axes[1], poses, errors, truth)
    axes[0].set_title(f"{name}: ATE {100 * run['ate_sim3_m']:.1f} cm", pad=20.0)


def write_latencies(path: Path, reports: dict[str, Figures]) -> None:
    """How the time a frame is spread, all live runs of a sequence together, beside plain KLT."""
    with style():
        figure = new_figure(4.2 * len(reports), 3.2)
        for axes, (name, report) in zip(np.atleast_1d(figure.subplots(1, len(reports))), reports.items(), strict=True):
            draw_times(axes, name, report)
        path.write_bytes(to_png(figure))


def draw_times(axes: Axes, name: str, report: Figures) -> None:
    """Share of frames that took at most so long."""
    for key, label, color in (("live", "klt, live", LIGHT.fused), ("plain", "plain KLT", LIGHT.points)):
        times = np.sort(np.concatenate([run["frame_ms"] for run in report[key]]))
        axes.plot(times, 100.0 * np.arange(1, len(times) + 1) / len(times), color=color, label=label)
    budget = BUDGETS_MS["odometry"]
    axes.axvline(budget, color=LIGHT.bad, lw=1.2, label=f"budget {budget:g} ms for 95 %")
    axes.axhline(95.0, color=LIGHT.muted, lw=0.8, ls=(0, (2, 2)))
    axes.set(xlim=(0.0, 1.5 * budget), ylim=(0.0, 101.0), xlabel="ms", ylabel="% of the frames within")
    axes.set_title(name, pad=20.0)
    put_legend_above(axes)


def write_memory(path: Path, curves: Sequence[Figures]) -> None:
    """Memory beyond the kept frames by the number of frames."""
    with style():
        figure = new_figure(6.0, 3.2)
        axes = figure.subplots()
        for curve, color in zip(curves, colormaps["tab10"](range(10)), strict=False):
            axes.plot(curve["at"], curve["mb"], color=color, label=curve["source"])
        axes.set(xlabel="frames", ylabel="MB", ylim=(0.0, None), xlim=(0.0, None))
        axes.set_title("memory of the odometry, its adjustment process included", pad=20.0)
        put_legend_above(axes)
        path.write_bytes(to_png(figure))
