"""Plots over time: errors with their estimated uncertainty, the state, and squared normalised errors (NEES, NIS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from visloc_ros.core.geometry import Array
from visloc_ros.core.types import State, Support
from visloc_ros.evaluation.drawing import draw_circles, thin, thin_keeping_peaks
from visloc_ros.evaluation.metrics import NEES_BAND, POSE_DOF
from visloc_ros.evaluation.plot_style import LIGHT, STATE_COLOR, SUPPORT_COLOR, say_nothing_to_show
from visloc_ros.evaluation.records import InnovationRecord, RunRecord
from visloc_ros.evaluation.series import PoseSeries, RunSeries

Kind = TypeVar("Kind", State, Support)

MAX_DOTS = 100
CENTIMETRES_BELOW_M = 1.0
BAND_SIGMAS = 3.0
SMALLEST = 1e-2
"""Values of NEES and NIS below are drawn here: the scale is logarithmic."""
USUAL_RANGE = (0.5, 50.0)


def draw_errors(axes: Axes, record: RunRecord, series: RunSeries, kind: str) -> None:
    """Error over time ("position" or "rotation") with its 3-sigma band and the anchors; without truth only the band."""
    unit, factor = _error_unit(record, series, kind)
    frames, anchors = series.frames, series.anchors
    error, sigma, anchor_error = (
        factor * values for values in (_error(frames, kind), _sigma(frames, kind), _error(anchors, kind))
    )
    label = f"{kind} error" if record.ground_truth is not None else f"{kind} uncertainty"
    axes.set(ylabel=f"{label} [{unit}]")
    if not np.isfinite(frames.positions).any() and not np.isfinite(anchor_error).any():
        say_nothing_to_show(axes, "no frame was localized")
        return
    top = _upper_limit(error, sigma, anchor_error)
    _draw_band(axes, frames.seconds, BAND_SIGMAS * sigma)
    _draw_fused_error(axes, frames.seconds, error)
    _draw_anchor_errors(axes, anchors.seconds, anchor_error, top)
    axes.set_ylim(0.0, top)


def draw_states(axes: Axes, record: RunRecord, series: RunSeries) -> None:
    """A strip that shows the state at each time, and below it the support of the pose."""
    axes.set(yticks=[0.2, 0.75], yticklabels=["rests on", "state"], ylim=(0.0, 1.0))
    axes.set_xlabel("time since the first frame [s]")
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    seconds = series.frames.seconds
    _draw_strip(axes, spans_of([frame.state for frame in record.frames], seconds), STATE_COLOR, (0.5, 1.0))
    _draw_strip(axes, spans_of([frame.support for frame in record.frames], seconds), SUPPORT_COLOR, (0.0, 0.4))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -1.0), ncols=9, handlelength=0.9, columnspacing=1.2)


def spans_of(values: Sequence[Kind], seconds: Array) -> list[tuple[Kind, float, float]]:
    """Time spans (value, begin, end) of equal values; each lasts until the next frame of another value."""
    if not values:
        return []
    changes: list[int] = [0, *(i for i in range(1, len(values)) if values[i] != values[i - 1])]
    step = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 1.0
    ends = [*(float(seconds[i]) for i in changes[1:]), float(seconds[-1]) + step]
    return [(values[i], float(seconds[i]), end) for i, end in zip(changes, ends, strict=True)]


def _draw_strip(
    axes: Axes, strip: Sequence[tuple[Kind, float, float]], colors: Mapping[Kind, str], rows: tuple[float, float]
) -> None:
    """Fill a strip between two shares of the plot's height; values without a colour stay empty."""
    shown: set[Kind] = set()
    for value, begin, end in strip:
        if value in colors:
            label = "" if value in shown else str(value.value).lower().replace("_", " ")
            axes.axvspan(begin, end, *rows, color=colors[value], lw=0.0, label=label)
            shown.add(value)


def _error(series: PoseSeries, kind: str) -> Array:
    return series.position_error if kind == "position" else series.rotation_error_deg


def _sigma(series: PoseSeries, kind: str) -> Array:
    return series.sigma_position if kind == "position" else series.sigma_rotation_deg


def _error_unit(record: RunRecord, series: RunSeries, kind: str) -> tuple[str, float]:
    """Unit to draw in, and the factor from metres or degrees to it."""
    if kind == "rotation":
        return "deg", 1.0
    if not record.metric:
        return "map units", 1.0
    errors = series.frames.position_error
    largest = np.nanmax(errors) if np.isfinite(errors).any() else 0.0
    return ("cm", 100.0) if largest < CENTIMETRES_BELOW_M else ("m", 1.0)


def _upper_limit(error: Array, sigma: Array, anchor_error: Array) -> float:
    """Top of the plot: every fused error fits in; single wild anchors and bands do not squash it."""
    candidates = [(error, 100), (anchor_error, 90), (BAND_SIGMAS * sigma, 50 if np.isfinite(error).any() else 98)]
    known = [(values[np.isfinite(values)], share) for values, share in candidates]
    highest = max([float(np.percentile(values, share)) for values, share in known if len(values)], default=0.0)
    return 1.25 * highest if highest > 0.0 else 1.0


def _draw_band(axes: Axes, seconds: Array, band: Array) -> None:
    if not np.isfinite(band).any():
        return
    rows = thin(len(band))
    axes.fill_between(seconds[rows], 0.0, band[rows], color=LIGHT.fused, alpha=0.14, lw=0.0, label="3 sigma", zorder=2)


def _draw_fused_error(axes: Axes, seconds: Array, error: Array) -> None:
    """A line, with dots while the frames are so few that they stand alone."""
    if not np.isfinite(error).any():
        return
    rows = thin_keeping_peaks(error)
    marker = "." if len(error) <= MAX_DOTS else ""
    axes.plot(seconds[rows], error[rows], color=LIGHT.fused, lw=1.3, marker=marker, label="fused", zorder=3)


def _draw_anchor_errors(axes: Axes, seconds: Array, error: Array, top: float) -> None:
    """Circles at the anchors' errors; those above the plot become triangles at its edge."""
    inside, above = error <= top, error > top
    if inside.any():
        draw_circles(axes, seconds[inside], error[inside], "anchors")
    if above.any():
        edge = np.full(int(above.sum()), 0.97 * top)
        axes.scatter(seconds[above], edge, s=16, marker="^", color=LIGHT.bad, lw=0, label="anchors above", zorder=4)


def draw_nees(axes: Axes, record: RunRecord, series: RunSeries) -> None:
    """Squared error of every pose over its covariance, with the 95 % chi-square band."""
    axes.set(ylabel="NEES")
    values = series.frames.nees
    if not np.isfinite(values).any():
        say_nothing_to_show(axes, "no ground truth" if record.ground_truth is None else "no frame was localized")
        return
    _draw_chi_square_band(axes, values)
    rows = thin_keeping_peaks(values)
    drawn = np.maximum(values[rows], SMALLEST)
    axes.plot(series.frames.seconds[rows], drawn, color=LIGHT.fused, lw=1.2, label="fused poses")


def draw_nis(axes: Axes, record: RunRecord, series: RunSeries) -> None:
    """Squared innovations of anchors and tracked poses over their covariance, refused ones as crosses."""
    axes.set(ylabel="NIS", xlabel="time since the first frame [s]")
    if not record.innovations:
        say_nothing_to_show(axes, "no measurement met a prediction")
        return
    _draw_chi_square_band(axes, np.array([one.nis for one in record.innovations]))
    sources = dict.fromkeys(one.source for one in record.innovations)
    colors = dict(zip(sources, (LIGHT.anchor, LIGHT.fused, LIGHT.truth), strict=False))
    for source, color in colors.items():
        _draw_innovations(axes, [one for one in record.innovations if one.source == source], series, source, color)


def _draw_chi_square_band(axes: Axes, values: Array) -> None:
    """The 95 % chi-square band, and a logarithmic axis that holds it and these values (N,)."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    axes.set(yscale="log", ylim=(max(SMALLEST, min(0.5 * low, USUAL_RANGE[0])), max(2.0 * high, USUAL_RANGE[1])))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.axhspan(*NEES_BAND, color=LIGHT.good, alpha=0.12, lw=0.0, label="95 % chi-square band")
    axes.axhline(POSE_DOF, color=LIGHT.good, lw=0.8, ls=(0, (3, 3)))


def _draw_innovations(
    axes: Axes, innovations: list[InnovationRecord], series: RunSeries, source: str, color: str
) -> None:
    for accepted, marker, label in ((True, ".", source), (False, "x", f"{source}, refused")):
        chosen = [one for one in innovations if one.accepted is accepted]
        if chosen:
            seconds: Array = np.array([series.seconds_of(one.stamp_ns) for one in chosen])
            values = np.maximum([one.nis for one in chosen], SMALLEST)
            axes.scatter(seconds, values, s=14.0, marker=marker, color=color, lw=0.8, label=label)
