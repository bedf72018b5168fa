"""The picture of images that were localized one by one: their positions in the map, and their errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from visloc_ros.core.errors import OutputError
from visloc_ros.evaluation.drawing import finite_rows, put_legend_above
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, say_nothing_to_show, style, to_png
from visloc_ros.evaluation.records import RunRecord
from visloc_ros.evaluation.series import RunSeries, run_series
from visloc_ros.evaluation.top_view import draw_top_view


def write_query_plot(path: Path, record: RunRecord) -> None:
    """Write a PNG of a record's anchors in the map, and of their errors where truth is known. Raises OutputError."""
    series = run_series(record)
    with style():
        figure = new_figure(12.0, 5.5)
        top_view, errors = figure.subplots(1, 2, width_ratios=(3, 2))
        draw_top_view(top_view, record, series)
        draw_query_errors(errors, record, series)
        figure.suptitle(record.title, x=0.01, ha="left", fontsize=10)
        png = to_png(figure)
    try:
        path.write_bytes(png)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def draw_query_errors(axes: Axes, record: RunRecord, series: RunSeries) -> None:
    """Position error of every image with a pose, or its standard deviation without truth; the others as ticks below."""
    has_truth = bool(np.isfinite(series.anchors.position_error).any())
    values = series.anchors.position_error if has_truth else series.anchors.sigma_position
    unit, factor = ("cm", 100.0) if record.metric else ("map units", 1.0)
    axes.set_title("position error" if has_truth else "standard deviation of the position", pad=20.0)
    rows = np.arange(len(record.anchors))
    if len(finite_rows(values[:, None])) == 0:
        say_nothing_to_show(axes, "no image has a pose")
        return
    axes.plot(rows, factor * values, "o", ms=4.0, color=LIGHT.anchor, label="images with a pose")
    rejected = rows[[not anchor.accepted for anchor in record.anchors]]
    if len(rejected):
        axes.plot(rejected, np.zeros(len(rejected)), "|", color=LIGHT.bad, label="no pose", clip_on=False)
    axes.set(xlabel="image", ylabel=unit)
    axes.set_ylim(bottom=0.0)
    put_legend_above(axes)
