"""The picture of an anchor benchmark: every frame's time as a bar made of its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.anchor.timing import STAGES, FrameTiming
from visloc_ros.core.errors import OutputError
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, style, to_png

_COLORS = dict(zip(STAGES, colormaps["tab10"].colors, strict=False))  # type: ignore[attr-defined]


def write_stage_plot(path: Path, title: str, paths: Mapping[str, Sequence[FrameTiming]]) -> None:
    """Write a PNG with one row of bars for each way of localizing that has frames. Raises OutputError."""
    measured = {name: timings for name, timings in paths.items() if timings}
    with style():
        png = to_png(_stage_figure(title, measured))
    try:
        path.write_bytes(png)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _stage_figure(title: str, paths: Mapping[str, Sequence[FrameTiming]]) -> Figure:
    figure = new_figure(10.0, 0.6 + 2.4 * len(paths))
    axes = np.atleast_1d(figure.subplots(len(paths), 1))
    for plot, (name, timings) in zip(axes, paths.items(), strict=True):
        _draw_bars(plot, name, timings)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    axes[-1].set_xlabel("frame")
    return figure


def _draw_bars(axes: Axes, name: str, timings: Sequence[FrameTiming]) -> None:
    rows, bottom = np.arange(len(timings)), np.zeros(len(timings))
    for stage, words in STAGES.items():
        milliseconds = np.array([one.stage_ms.get(stage, 0.0) for one in timings])
        if milliseconds.any():
            axes.bar(rows, milliseconds, bottom=bottom, width=0.8, color=_COLORS[stage], label=words)
            bottom += milliseconds
    rejected = [row for row, one in enumerate(timings) if one.reason is not None]
    if rejected:
        axes.plot(rejected, bottom[rejected], "x", color=LIGHT.bad, label="rejected")
    median = float(np.median([one.total_ms for one in timings]))
    axes.axhline(median, color=LIGHT.ink, lw=1.0, ls=(0, (3, 2)))
    axes.set_title(f"{name}: p50 {median:.0f} ms", loc="left")
    axes.set(ylabel="ms", xlim=(-0.6, len(timings) - 0.4))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
