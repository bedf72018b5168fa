"""Stylised copies of pictures for training: other light, weather and cameras than those that mapped the place.

Maps are made by day. After LBR (Xue et al., CVPR 2022) a network learns every picture in several styles with the same
mask. Its styles came from another network; here gamma, colour casts, noise, blur and lamps are drawn at random, and
pictures of any folder lend their colours (histograms) or their light (the amplitudes of low frequencies, Yang and
Soatto, CVPR 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.types import Image
from visloc_ros.sources import open_source
from visloc_ros.sources.photos import read_photo

Colours = NDArray[np.float32]
"""A picture (H, W, 3) in [0, 1]."""

_STYLE_SHARE = 0.5  # of the pictures where there are others to take the style of
_EACH = 0.5  # probability of each change
_LARGEST_GAMMA = 3.0  # darker; brighter by its square root
_LARGEST_CAST = 0.4  # change of a channel
_PHOTONS = 4.0, 400.0  # at full brightness: the fewest are those of a phone at night
_READ_NOISE = 0.03
_LARGEST_BLUR = 0.012  # of the picture's width
_MOST_LAMPS = 3
_LOW_FREQUENCIES = 0.05  # of the picture's sides
_STYLE_SIDE = 320  # pixels, as the pictures of maps have


def stylised(picture: Image, rng: np.random.Generator, styles: Sequence[Image] = ()) -> Image:
    """A copy of a picture (H, W, 3) in a random style, or in that of one of the pictures ``styles``."""
    colours = picture.astype(np.float32) / 255.0
    if styles and rng.random() < _STYLE_SHARE:
        transfer = (with_histogram, with_low_frequencies)[int(rng.integers(2))]
        colours = transfer(colours, styles[int(rng.integers(len(styles)))].astype(np.float32) / 255.0)
    for change in (_relight, _cast, _add_lamps, _blur, _add_noise):
        if rng.random() < _EACH:
            colours = change(colours, rng)
    return np.asarray(np.clip(255.0 * colours, 0.0, 255.0), np.uint8)


def with_histogram(colours: Colours, style: Colours) -> Colours:
    """The colours so that each channel is distributed as in the other picture."""
    from skimage.exposure import match_histograms  # takes 0.5 s, so it is imported only when needed

    return np.asarray(match_histograms(colours, style, channel_axis=-1), np.float32)


def with_low_frequencies(colours: Colours, style: Colours) -> Colours:
    """The colours with the other picture's amplitudes at low frequencies, which are its light."""
    height, width = colours.shape[:2]
    style = np.asarray(cv2.resize(style, (width, height), interpolation=cv2.INTER_AREA))
    own, other = (np.fft.fft2(one, axes=(0, 1)) for one in (colours, style))
    is_low = (np.abs(np.fft.fftfreq(height)) < _LOW_FREQUENCIES)[:, None] & (
        np.abs(np.fft.fftfreq(width)) < _LOW_FREQUENCIES
    )
    amplitudes = np.where(is_low[..., None], np.abs(other), np.abs(own))
    return np.asarray(np.fft.ifft2(amplitudes * np.exp(1j * np.angle(own)), axes=(0, 1)).real, np.float32).clip(0, 1)


def _relight(colours: Colours, rng: np.random.Generator) -> Colours:
    """Darker or brighter, by gamma."""
    return np.asarray(colours ** (_LARGEST_GAMMA ** rng.uniform(-0.5, 1.0)), np.float32)


def _cast(colours: Colours, rng: np.random.Generator) -> Colours:
    """A warm, cold or coloured light, or none at all."""
    if rng.random() < 0.2:
        return np.repeat(colours.mean(axis=2, keepdims=True), 3, axis=2)
    return np.asarray(colours * (1.0 + rng.uniform(-_LARGEST_CAST, _LARGEST_CAST, 3)), np.float32).clip(0, 1)


def _add_lamps(colours: Colours, rng: np.random.Generator) -> Colours:
    """Bright spots, and their halo."""
    height, width = colours.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(int(rng.integers(1, _MOST_LAMPS + 1))):
        centre, radius = rng.uniform((0, 0), (width, height)), width * rng.uniform(0.02, 0.15)
        halo = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2.0 * radius**2))
        colours = colours + rng.uniform(0.3, 1.0) * halo[..., None] * rng.uniform(0.7, 1.0, 3).astype(np.float32)
    return np.asarray(colours, np.float32).clip(0, 1)


def _blur(colours: Colours, rng: np.random.Generator) -> Colours:
    return np.asarray(cv2.GaussianBlur(colours, (0, 0), max(_LARGEST_BLUR * colours.shape[1] * rng.random(), 0.1)))


def _add_noise(colours: Colours, rng: np.random.Generator) -> Colours:
    """Photon noise, as in little light, and noise of the electronics."""
    photons = np.exp(rng.uniform(*np.log(_PHOTONS)))
    noisy = rng.poisson(colours * photons) / photons
    return np.asarray(noisy + rng.normal(0.0, _READ_NOISE * rng.random(), colours.shape), np.float32).clip(0, 1)


def read_styles(folder: str) -> list[Image]:
    """Small pictures of the images of a folder; none without a folder. Raises SourceError."""
    if not folder:
        return []
    return [_small(frame.image) for frame in open_source(Path(folder))]


def read_picture(path: Path) -> Image:
    """A small picture (H, W, 3) of an image file. Raises SourceError."""
    return _small(read_photo(path))


def _small(image: Image) -> Image:
    height, width = image.shape[:2]
    scale = _STYLE_SIDE / max(height, width)
    small = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return np.asarray(np.repeat(small[..., None], 3, axis=2) if small.ndim == 2 else small, np.uint8)
