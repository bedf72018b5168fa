"""The street from above: tags, views where they were registered, and the answers."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from visloc_ros.core.geometry import Array
from visloc_ros.evaluation.plot_style import LIGHT


def draw_street(path: Path, tags: Iterable[Array], reconstructed: Iterable[Array], answers: Iterable[Array]) -> None:
    """Draw positions (3,) in metres east and north, turned so that the street is horizontal."""
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(9.0, 2.6), layout="constrained")
        axes = figure.subplots()
        for points, marker, size, colour, label in (
            (tags, "x", 26.0, LIGHT.muted, "GPS tags"),
            (reconstructed, "o", 60.0, LIGHT.points, "reconstruction of all photos"),
            (answers, "o", 12.0, LIGHT.bad, "each photo by the others"),
        ):
            east, north, _ = np.array(list(points)).T
            axes.scatter(north, -east, s=size, marker=marker, color=colour, label=label, linewidth=1.0)
        axes.set(xlabel="north [m]", ylabel="west [m]")
        axes.set_aspect("equal")
        axes.legend(ncols=3, loc="upper left", bbox_to_anchor=(0.0, 1.3), frameon=False)
        figure.savefig(path, dpi=110)
