"""Ways of matching one image side by side: which keypoints agree with the pose, and how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Image
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, style

_HALF_PIXEL = 0.5  # COLMAP's first pixel has its centre there, that of the drawing at 0
_FADED = 0.45  # of the image under its keypoints
_PANEL_IN = 5.0


@dataclass(frozen=True, eq=False)
class MatchPanel:
    """One way: its name, keypoints (N, 2) [px], where their points project to (N, 2), NaN behind, which (N,) agree."""

    title: str
    pixels: Array
    projected: Array
    inliers: NDArray[np.bool_]


def draw_matches(image: Image, panels: Sequence[MatchPanel]) -> Figure:
    """The image once for each way, inliers green over outliers red, each with a line to where its point projects."""
    height, width = image.shape[:2]
    with style():
        figure = new_figure(_PANEL_IN * len(panels), _PANEL_IN * height / width + 0.4)
        for axes, panel in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
            _draw_panel(axes, image, panel)
    return figure


def _draw_panel(axes: Axes, image: Image, panel: MatchPanel) -> None:
    height, width = image.shape[:2]
    grey = image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    axes.imshow(255.0 - _FADED * (255.0 - grey.astype(np.float32)), cmap="gray", vmin=0.0, vmax=255.0)
    for agrees, colour, size in ((False, LIGHT.bad, 9.0), (True, LIGHT.good, 9.0)):
        rows = panel.inliers == agrees
        ends = np.stack([panel.pixels[rows], panel.projected[rows]]) - _HALF_PIXEL
        axes.plot(*ends.transpose(2, 0, 1), color=colour, lw=0.7, alpha=0.5)
        axes.scatter(ends[0, :, 0], ends[0, :, 1], s=size, color=colour, lw=0.0, zorder=3.0)
    axes.set(xlim=(-_HALF_PIXEL, width - _HALF_PIXEL), ylim=(height - _HALF_PIXEL, -_HALF_PIXEL))
    axes.set_axis_off()
    axes.set_title(f"{panel.title}: {int(panel.inliers.sum())} of {len(panel.inliers)} keypoints agree")
