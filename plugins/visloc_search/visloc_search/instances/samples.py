"""Training samples: crops of map images and of their masks, turned a little, half of them stylised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.types import Image
from visloc_search.instances.styles import stylised

INPUT_SIZE = 192, 144
"""Width and height of the network's input in training; any image has about as many pixels."""
STRIDE = 4
"""Pixels of the input in each direction for one of the mask."""

_SMALLEST_CROP = 0.5  # of the image's area
_LARGEST_ASPECT = 4.0 / 3.0  # change of width against height
_LARGEST_TURN_DEG = 20.0
_NO_COLOUR = (0, 0, 0)


@dataclass(frozen=True, eq=False)
class MaskedImage:
    """A small picture (H, W, 3) of a map image, its instance mask (H, W), and copies of the view in other styles.

    Picture, mask and copies show the same whole image, and may have different sizes.
    """

    name: str
    picture: Image
    mask: NDArray[np.uint16]
    copies: tuple[Image, ...] = ()


class SampleMaker:
    """Makes the same samples for the same seed and step, so that an interrupted training continues as it was."""

    def __init__(self, images: Sequence[MaskedImage], styles: Sequence[Image], stylise: float, seed: int) -> None:
        self._images, self._styles, self._stylise, self._seed = images, styles, stylise, seed

    def batch(self, step: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Inputs (B, H, W, 3), and the instances (B, H / STRIDE, W / STRIDE) that they show."""
        rng = np.random.default_rng((self._seed, step))
        made = [self._sample(rng) for _ in range(size)]
        return np.stack([one for one, _ in made]), np.stack([mask for _, mask in made]).astype(np.int64)

    def _sample(self, rng: np.random.Generator) -> tuple[Image, NDArray[np.uint16]]:
        image = self._images[int(rng.integers(len(self._images)))]
        size = image.mask.shape[1::-1]
        crop = _random_crop(rng, size)
        seen = (image.picture, *image.copies)[int(rng.integers(1 + len(image.copies)))]
        to_mask = np.array(size) / seen.shape[1::-1]
        of_seen = np.column_stack((crop[:, :2] * to_mask, crop[:, 2] + crop[:, :2] @ (0.5 * to_mask - 0.5)))
        picture = np.asarray(cv2.warpAffine(seen, of_seen, INPUT_SIZE, flags=cv2.INTER_LINEAR), np.uint8)
        if rng.random() < self._stylise:
            picture = stylised(picture, rng, self._styles)
        return picture, sampled_mask(image.mask, crop)


def sampled_mask(mask: NDArray[np.uint16], crop: NDArray[np.float64]) -> NDArray[np.uint16]:
    """The instances at every STRIDE-th pixel of a crop; none outside of the image."""
    size = INPUT_SIZE[0] // STRIDE, INPUT_SIZE[1] // STRIDE
    centre = (STRIDE - 1) / 2.0
    coarse = np.column_stack((crop[:, :2] / STRIDE, (crop[:, 2] - centre) / STRIDE))
    return np.asarray(cv2.warpAffine(mask, coarse, size, flags=cv2.INTER_NEAREST, borderValue=_NO_COLOUR))


def _random_crop(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:
    """The affine map (2, 3) of an image's pixels to those of the input: a turned part of the image. It is not mirrored.

    A mirrored facade would be another one.
    """
    width, height = size
    share, stretch = rng.uniform(_SMALLEST_CROP, 1.0), _LARGEST_ASPECT ** rng.uniform(-0.5, 0.5)
    turn = np.radians(rng.uniform(-_LARGEST_TURN_DEG, _LARGEST_TURN_DEG))
    scale = np.sqrt(INPUT_SIZE[0] * INPUT_SIZE[1] / (share * width * height))
    linear = np.diag([scale * stretch, scale / stretch]) @ [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    room = np.maximum(np.array(size) - np.array(INPUT_SIZE) / scale, 0.0) / 2.0
    centre = np.array(size) / 2.0 + rng.uniform(-room, room)
    return np.column_stack((linear, np.array(INPUT_SIZE) / 2.0 - linear @ centre))
