"""The picture of an odometry run: its path beside the truth, its errors over time, its latencies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from visloc_ros.core.geometry import Array
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import OdometryPose, Rejection
from visloc_ros.evaluation.association import truth_at
from visloc_ros.evaluation.drawing import draw_latencies, draw_stages, finite_rows, put_legend_above, thin
from visloc_ros.evaluation.odometry_errors import OdometryErrors
from visloc_ros.evaluation.odometry_run import OdometryRun
from visloc_ros.evaluation.odometry_summary import stage_figures
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, say_nothing_to_show, style, to_png, write_picture
from visloc_ros.evaluation.table import BUDGETS_MS

Results = Sequence[OdometryPose | Rejection]


def write_odometry_plot(
    path: Path, title: str, run: OdometryRun, errors: OdometryErrors, truth: Trajectory | None
) -> None:
    """Write a PNG of a run with path, errors, latencies and stages. Raises OutputError."""
    with style():
        figure = new_figure(10.0, 7.0)
        (above, error), (latencies, stages) = figure.subplots(2, 2)
        draw_paths(above, run.results, errors, truth)
        draw_errors(error, run.results, errors, truth)
        draw_latencies(latencies, "time a frame", np.array([f.track_ms for f in run.frames]), BUDGETS_MS["odometry"])
        draw_stages(stages, "stages", stage_figures(run.frames), LIGHT.fused)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        write_picture(path, to_png(figure))


def draw_paths(axes: Axes, results: Results, errors: OdometryErrors, truth: Trajectory | None) -> None:
    """Every segment beside the truth, seen along the direction in which the camera moves least."""
    axes.set_title("path, seen along its flattest direction", pad=20.0)
    paths, unit = aligned_paths(results, errors, truth)
    if not paths:
        say_nothing_to_show(axes, "no segment could be aligned" if errors.segments else "odometry never started")
        return
    true = _true_positions(results, truth)
    plane = _widest_plane(finite_rows(true) if truth is not None else paths[0])
    if truth is not None:
        seen = (true @ plane)[thin(len(true))]
        axes.plot(*seen.T, color=LIGHT.truth, lw=1.1, ls=(0, (4, 2)), label="truth", zorder=5)
    for number, path in enumerate(paths):
        label = "odometry" if number == 0 else None
        axes.plot(*(path @ plane)[thin(len(path))].T, color=LIGHT.fused, lw=1.6, label=label, zorder=4)
    axes.set(xlabel=unit, ylabel=unit)
    axes.set_aspect("equal", adjustable="datalim")
    put_legend_above(axes)


def draw_errors(axes: Axes, results: Results, errors: OdometryErrors, truth: Trajectory | None) -> None:
    """Position errors after alignment, frame by frame; frames without a pose as ticks at the bottom."""
    axes.set_title("position error after Sim3 alignment", pad=20.0)
    if truth is None or not results:
        say_nothing_to_show(axes, "no truth is known" if results else "no frames")
        return
    begin_ns = results[0].stamp_ns
    seconds = np.array([(result.stamp_ns - begin_ns) / NANOSECONDS for result in results])
    axes.plot(seconds, 100.0 * _position_errors(results, errors, truth), color=LIGHT.fused, label="odometry")
    lost = seconds[[isinstance(result, Rejection) for result in results]]
    if len(lost):
        axes.plot(lost, np.zeros(len(lost)), "|", color=LIGHT.bad, label="no pose", clip_on=False)
    axes.set(xlabel="s", ylabel="cm")
    axes.set_ylim(bottom=0.0)
    put_legend_above(axes)


def aligned_paths(results: Results, errors: OdometryErrors, truth: Trajectory | None) -> tuple[list[Array], str]:
    """Positions (N, 3) of each segment that could be aligned, in metres of the truth; without truth all, in units."""
    paths = []
    for segment in errors.segments:
        own = [r for r in results if isinstance(r, OdometryPose) and r.segment == segment.segment]
        positions = np.array([pose.odom_from_camera.translation for pose in own])
        if truth is None:
            paths.append(positions)
        elif segment.truth_from_odom is not None:
            paths.append(segment.truth_from_odom @ positions)
    return paths, "units" if truth is None else "m"


def _position_errors(results: Results, errors: OdometryErrors, truth: Trajectory) -> Array:
    """Metres (N,) between aligned and true positions; NaN without a pose, an alignment or truth."""
    alignments = {segment.segment: segment.truth_from_odom for segment in errors.segments}
    true = _true_positions(results, truth)
    distances = np.full(len(results), np.nan)
    for row, result in enumerate(results):
        alignment = alignments.get(result.segment) if isinstance(result, OdometryPose) else None
        if isinstance(result, OdometryPose) and alignment is not None:
            distances[row] = np.linalg.norm(alignment @ result.odom_from_camera.translation - true[row])
    return distances


def _true_positions(results: Results, truth: Trajectory | None) -> Array:
    """True positions (N, 3) at the results' stamps; NaN where unknown."""
    poses = [truth_at(truth, result.stamp_ns) if truth is not None else None for result in results]
    return np.array([np.full(3, np.nan) if pose is None else pose.translation for pose in poses]).reshape(-1, 3)


def _widest_plane(positions: Array) -> Array:
    """The two directions (3, 2) in which positions (N, 3) spread the most."""
    _, _, directions = np.linalg.svd(positions - positions.mean(axis=0), full_matrices=True)
    return np.asarray(directions[:2].T)
