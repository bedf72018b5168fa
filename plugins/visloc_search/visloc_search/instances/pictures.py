"""Pictures of what is recognised in an image: its instances in their colours, and the confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.landmark_colours import landmark_colours
from visloc_ros.core.types import Image
from visloc_search.instances.config import NO_INSTANCE
from visloc_search.instances.recognition import Float32, Recognition

_ALPHA = 0.5  # of the colours over the image
_LARGEST_SIDE = 1280  # pixels of a picture to look at
_SMALLEST_HEIGHT = 320  # pixels: the list beside it can be read
_LINES = 14  # of the list, over the height of the picture
_LIST_WIDTH = 0.75  # of the height
_INK, _PAPER = (40, 40, 40), 255


@dataclass(frozen=True)
class ShownInstance:
    """An instance that an image shows: the share of the image that it covers, and the mean confidence there."""

    instance: int
    share: float
    confidence: float


def shown_instances(recognition: Recognition) -> list[ShownInstance]:
    """The instances of a mask, the largest first."""
    counts = np.bincount(recognition.mask.ravel())
    sums = np.bincount(recognition.mask.ravel(), recognition.confidence.ravel())
    found = [
        ShownInstance(int(one), float(counts[one] / recognition.mask.size), float(sums[one] / counts[one]))
        for one in np.flatnonzero(counts)
        if one != NO_INSTANCE
    ]
    return sorted(found, key=lambda one: -one.share)


def enlarged(cells: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Values of cells (h, w), of the same type, over an image of this width and height."""
    return np.asarray(cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST_EXACT))


def painted(image: Image, mask: NDArray[np.uint16]) -> Image:
    """An image (H, W) or (H, W, 3) as RGB, half covered by the colours of the instances of its mask (H, W)."""
    rgb = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    colours = landmark_colours(mask).reshape(*mask.shape, 3)
    mixed = cv2.addWeighted(rgb, 1.0 - _ALPHA, colours, _ALPHA, 0.0)
    return np.where(mask[..., None] == NO_INSTANCE, rgb, mixed).astype(np.uint8)


def confidence_picture(confidence: Float32) -> Image:
    """Confidences (H, W) in [0, 1] as colours (H, W, 3), RGB: from dark blue, 0, to yellow, 1."""
    levels = np.round(255.0 * np.clip(confidence, 0.0, 1.0)).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB))


def overlay(image: Image, recognition: Recognition) -> Image:
    """An image as RGB in the colours of its instances, beside a list of the largest: share, and confidence."""
    height, width = image.shape[:2]
    scale = min(max(1.0, _SMALLEST_HEIGHT / height), _LARGEST_SIDE / max(height, width))
    size = max(1, round(scale * width)), max(1, round(scale * height))
    picture = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    mask = enlarged(recognition.mask, size)
    return np.hstack((painted(picture, mask), _list_of(shown_instances(recognition), size[1])))


def _list_of(shown: list[ShownInstance], height: int) -> Image:
    """A list of instances in their colours, as high as a picture."""
    line = height / _LINES
    paper = np.full((height, round(_LIST_WIDTH * height), 3), _PAPER, np.uint8)
    _write(paper, 0, ("instance", "share", "confidence"))
    for row, one in enumerate(shown[: _LINES - 2], 1):
        top, bottom = round((row + 0.2) * line), round((row + 0.9) * line)
        colour = landmark_colours(np.array([one.instance]))[0].tolist()
        cv2.rectangle(paper, (round(0.3 * line), top), (round(1.1 * line), bottom), colour, cv2.FILLED)
        _write(paper, row, (str(one.instance), f"{one.share:.1%}", f"{one.confidence:.2f}"))
    return paper


def _write(paper: Image, row: int, words: tuple[str, str, str]) -> None:
    """Write a line of three columns."""
    line = len(paper) / _LINES
    for column, word in enumerate(words):
        place = round((1.4 + 3.2 * column) * line), round((row + 0.75) * line)
        cv2.putText(paper, word, place, cv2.FONT_HERSHEY_SIMPLEX, line / 55.0, _INK, 1, cv2.LINE_AA)
