"""Images as a moving camera, a wrong focus, little light and a short exposure spoil them."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.types import Image

READ_ELECTRONS = 2.0  # of a CMOS sensor
Spoil = Callable[[Image, np.random.Generator], Image]


def out_of_focus(sigma_px: float) -> Spoil:
    """Blur of a lens."""
    return lambda image, _: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8)


def smeared(length_px: int) -> Spoil:
    """Blur of a camera that moves while it exposes, in a random direction."""

    def smear(image: Image, rng: np.random.Generator) -> Image:
        kernel = line_kernel(length_px, rng.uniform(0.0, np.pi))
        return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT), np.uint8)

    return smear


def line_kernel(length_px: int, angle: float) -> NDArray[np.float32]:
    """Weights of a line of pixels, centred exactly, so that the true pose is that of the middle of the exposure."""
    places = np.outer(np.linspace(-0.5, 0.5, 8 * length_px + 1), [np.sin(angle), np.cos(angle)]) * length_px
    rows, columns = (np.round(places).astype(int) + length_px // 2 + 1).T
    kernel = np.zeros((2 * (length_px // 2) + 3,) * 2, np.float32)
    np.add.at(kernel, (rows, columns), 1.0)
    kernel = kernel + kernel[::-1, ::-1]
    return np.asarray(kernel / kernel.sum(), np.float32)


def noisy(white_electrons: float) -> Spoil:
    """Shot noise of so many electrons where the image is white, and read noise."""

    def add_noise(image: Image, rng: np.random.Generator) -> Image:
        electrons = rng.poisson(image / 255.0 * white_electrons) + rng.normal(0.0, READ_ELECTRONS, image.shape)
        return np.asarray(np.clip(255.0 * electrons / white_electrons, 0, 255), np.uint8)

    return add_noise


SPOILT: Mapping[str, Spoil] = {
    "as they are": lambda image, _: image,
    **{f"blur of {sigma} px": out_of_focus(sigma) for sigma in (2, 4, 6)},
    **{f"smeared by {length} px": smeared(length) for length in (10, 20, 40)},
    **{f"{electrons} electrons in white": noisy(electrons) for electrons in (12, 5)},
    "an eighth as bright": lambda image, _: np.asarray(image // 8, np.uint8),
}
