"""Consistency of covariances over time: squared normalised errors against their 95 % chi-square band."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from visloc_ros.core.geometry import Array
from visloc_ros.evaluation.drawing import thin_keeping_peaks
from visloc_ros.evaluation.metrics import NEES_BAND, POSE_DOF
from visloc_ros.evaluation.plot_style import LIGHT, say_nothing_to_show
from visloc_ros.evaluation.records import InnovationRecord, RunRecord
from visloc_ros.evaluation.series import RunSeries

SMALLEST = 1e-2
"""Values below are drawn here: the scale is logarithmic."""
USUAL_RANGE = (0.5, 50.0)


def draw_nees(axes: Axes, record: RunRecord, series: RunSeries) -> None:
    """Squared error of every pose over its covariance, with the 95 % chi-square band."""
    axes.set(ylabel="NEES")
    values = series.frames.nees
    if not np.isfinite(values).any():
        say_nothing_to_show(axes, "no ground truth" if record.ground_truth is None else "no frame was localized")
        return
    _draw_band(axes, values)
    rows = thin_keeping_peaks(values)
    drawn = np.maximum(values[rows], SMALLEST)
    axes.plot(series.frames.seconds[rows], drawn, color=LIGHT.fused, lw=1.2, label="fused poses")


def draw_nis(axes: Axes, record: RunRecord, series: RunSeries) -> None:
    """Squared innovations of anchors and tracked poses over their covariance, refused ones as crosses."""
    axes.set(ylabel="NIS", xlabel="time since the first frame [s]")
    if not record.innovations:
        say_nothing_to_show(axes, "no measurement met a prediction")
        return
    _draw_band(axes, np.array([one.nis for one in record.innovations]))
    sources = dict.fromkeys(one.source for one in record.innovations)
    colors = dict(zip(sources, (LIGHT.anchor, LIGHT.fused, LIGHT.truth), strict=False))
    for source, color in colors.items():
        _draw_innovations(axes, [one for one in record.innovations if one.source == source], series, source, color)


def _draw_band(axes: Axes, values: Array) -> None:
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
