"""What the sensor does to light: vignetting, exposure that drifts, and noise that grows with brightness."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.types import Image
from visloc_ros.simulation.config import SimulationConfig

_DRIFT_PERIOD_S = 11.0
_MID_GREY = 128.0
_READ_NOISE_SHARE = 0.3  # of the noise variance at mid grey; the rest is shot noise


class Sensor:
    """Turns rendered light into 8-bit images. ``noise_key`` tells recordings of the same seed apart."""

    def __init__(self, config: SimulationConfig, noise_key: int = 0) -> None:
        self._config, self._noise_key = config, noise_key
        self._vignette = _vignette(config)
        variance = np.float32(config.noise_std**2)
        self._read_variance = _READ_NOISE_SHARE * variance
        self._shot_variance = (1 - _READ_NOISE_SHARE) / _MID_GREY * variance

    def gain(self, seconds: float) -> float:
        """Exposure factor at a time of the recording; 0 while the lens is covered."""
        since_blackout = seconds - self._config.blackout_start_s
        if 0 <= since_blackout < self._config.blackout_s:
            return 0.0
        return float(2.0 ** (self._config.exposure_drift_ev * np.sin(2 * np.pi * seconds / _DRIFT_PERIOD_S)))

    def expose(self, light: NDArray[np.float32], index: int, seconds: float) -> Image:
        """Give the uint8 image of light (H, W, 3); noise depends only on the seed, the key and the image's index."""
        image = light * (self._vignette * np.float32(self.gain(seconds)))
        if self._config.noise_std > 0:
            deviation = np.sqrt(self._read_variance + self._shot_variance * image)
            image += deviation * self._noise(index, image.shape)
        return np.asarray(np.clip(image + 0.5, 0, 255).astype(np.uint8))

    @cached_property
    def _noise_bank(self) -> NDArray[np.float32]:
        """Normal deviates, twice what an image needs: drawing them again for every image is too slow."""
        rng = np.random.default_rng([self._config.seed, self._noise_key])
        return rng.standard_normal(6 * self._config.width * self._config.height, dtype=np.float32)

    def _noise(self, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Unit noise (H, W, 3) of an image: its own stretch of the bank."""
        rng = np.random.default_rng([self._config.seed, self._noise_key, index])
        count = math.prod(shape)
        start = int(rng.integers(len(self._noise_bank) - count))
        return self._noise_bank[start : start + count].reshape(shape)


def _vignette(config: SimulationConfig) -> NDArray[np.float32]:
    """Share of light (H, W, 1) left, falling with the squared distance from the middle."""
    x, y = np.linspace(-1, 1, config.width), np.linspace(-1, 1, config.height)
    radius_squared = 0.5 * (x[None, :] ** 2 + y[:, None] ** 2)
    return np.asarray(1.0 - config.vignetting * radius_squared[..., None], dtype=np.float32)
