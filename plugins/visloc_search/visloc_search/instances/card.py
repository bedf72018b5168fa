"""The section of the map card about instances: some images in their colours, their sizes, and the training."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.landmark_colours import landmark_colours
from visloc_ros.core.types import Image
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_search.curve_drawing import Curve, draw_curves, legend, loss_curve
from visloc_search.instances.config import NO_INSTANCE
from visloc_search.instances.pictures import painted
from visloc_search.instances.training_scores import TrainingPoint

_SHOWN = 3  # images
_QUALITY = 80  # of JPEG
_WIDTH, _HEIGHT = 1000.0, 100.0  # of the bars
_FIGURES = {
    "coverage_percent": "of the images' area shows one",
    "consistent_percent": "of the points have the same instance in the images that see them",
    "recognised_percent": "of the points are recognised in images that the network learned",
    "held_out_percent": "in images held out",
}


def instance_section(
    pictures: Sequence[Image],
    masks: Sequence[NDArray[np.uint16]],
    names: Sequence[str],
    figures: Mapping[str, Any],
    curve: Sequence[TrainingPoint],
) -> str:
    """A section of the map card, HTML: all masked images of a map with their names, and its figures.

    ``figures`` are the manifest's entry, whose ``steps`` name the point of the training's ``curve`` that was kept.
    """
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(_SHOWN, len(pictures))).round().astype(int)).tolist()
    shown = "".join(_figure(pictures[row], masks[row], names[row]) for row in chosen)
    known = ", ".join(f"{figures[name]:g} % {words}" for name, words in _FIGURES.items() if name in figures)
    return (
        f'<section class="card"><h2>Search by instances</h2>\n'
        f'<p class="hint">{figures["instances"]} instances: {known}.</p>\n'
        f'<div class="pair" style="grid-template-columns: repeat({_SHOWN}, minmax(0, 1fr))">{shown}</div>\n'
        f"{_sizes(masks)}{_training(curve, figures['steps'])}</section>"
    )


def _figure(picture: Image, mask: NDArray[np.uint16], name: str) -> str:
    encoded = base64.b64encode(encode_jpeg(painted(picture, mask), _QUALITY)).decode("ascii")
    words = escape(name)
    return (
        f'<figure><img alt="Instances of {words}" src="data:image/jpeg;base64,{encoded}" style="width: 100%">'
        f"<figcaption>{words}</figcaption></figure>"
    )


def _sizes(masks: Sequence[NDArray[np.uint16]]) -> str:
    """A bar for each instance: the share that it covers of all images."""
    num_classes = 1 + max((int(mask.max(initial=NO_INSTANCE)) for mask in masks), default=NO_INSTANCE)
    shares = np.array([np.bincount(mask.ravel(), minlength=num_classes) / mask.size for mask in masks])
    if num_classes == 1:
        return ""
    mean, counts = 100.0 * shares.mean(axis=0), (shares > 0.0).sum(axis=0)
    colours = landmark_colours(np.arange(num_classes)).tolist()
    width, highest = _WIDTH / (num_classes - 1), mean[1:].max()
    bars = "".join(
        f'<rect x="{(one - 1) * width:.1f}" y="{_HEIGHT * (1.0 - mean[one] / highest):.1f}" width="{0.8 * width:.1f}" '
        f'height="{_HEIGHT * mean[one] / highest:.1f}" style="fill: rgb{tuple(colours[one])}">'
        f"<title>instance {one}: {mean[one]:.1f} % of all images, in {counts[one]} of {len(masks)}</title></rect>"
        for one in range(1, num_classes)
    )
    words = f"What each instance covers of all images, the largest {highest:.1f} %; point at one to see its number."
    return (
        f'<p class="hint" style="margin-top: 16px">{words}</p>\n'
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" preserveAspectRatio="none" style="height: 110px" role="img" '
        f'aria-label="Sizes of instances">{bars}</svg>\n'
    )


def _training(curve: Sequence[TrainingPoint], best_step: int) -> str:
    if not curve:
        return ""
    curves = (
        Curve("points recognised", "var(--accent)", [point.accuracy for point in curve]),
        loss_curve([point.loss for point in curve]),
    )
    words = f"How the training went, by held-out images: {legend(curves)}. The network of step {best_step} was kept."
    drawn = draw_curves([point.step for point in curve], curves, best_step)
    return f'<p class="hint" style="margin-top: 16px">{words}</p>\n{drawn}'
