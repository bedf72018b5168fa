"""Alterations of images at three levels beside the unchanged one, independent of what any way of searching learns from.

Level 3 leaves about what a person still recognises.
"""

from collections.abc import Callable, Mapping

import numpy as np

from testing.corruptions import blurred, grainy, tinted, with_gamma
from visloc_ros.core.types import Frame

Alter = Callable[[Frame, int], Frame]
"""The frame altered at a level from 1."""

LEVELS = (1, 2, 3)
NIGHT = "night"
"""Rendered; a sensor's noise in that little light is what its levels add."""
COLOUR = "warm light"
"""Nothing that cameras without colour see."""

_GAMMA = (1.8, 3.0, 5.0)
_WHITE_ELECTRONS, _NIGHT_ELECTRONS = (200.0, 50.0, 12.0), (1600.0, 400.0, 100.0)
_WARM = ((1.0, 0.8, 0.6), (1.0, 0.6, 0.3), (1.0, 0.4, 0.1))
_BLUR = (1.0 / 640, 2.0 / 640, 4.0 / 640)  # of the image's width


def _darker(frame: Frame, level: int) -> Frame:
    return with_gamma(frame, _GAMMA[level - 1])


def _brighter(frame: Frame, level: int) -> Frame:
    return with_gamma(frame, 1.0 / _GAMMA[level - 1])


def _noisy(frame: Frame, level: int) -> Frame:
    return grainy(frame, _WHITE_ELECTRONS[level - 1], _noise_of(frame))


def _warm(frame: Frame, level: int) -> Frame:
    return tinted(frame, _WARM[level - 1])


def _unsharp(frame: Frame, level: int) -> Frame:
    return blurred(frame, _BLUR[level - 1] * frame.image.shape[1])


def _at_night(frame: Frame, level: int) -> Frame:
    return grainy(frame, _NIGHT_ELECTRONS[level - 1], _noise_of(frame))


def _noise_of(frame: Frame) -> np.random.Generator:
    """The same for the same image."""
    return np.random.default_rng(frame.stamp_ns)


ALTERATIONS: Mapping[str, Alter] = {
    "darker": _darker,
    "brighter": _brighter,
    "noise": _noisy,
    COLOUR: _warm,
    "blur": _unsharp,
    NIGHT: _at_night,
}
