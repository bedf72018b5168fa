"""How many poses as good as one would be found among wrong matches alone (a contrario).

The number of false alarms of Moisan and Stival (IJCV 2004), for camera poses as by Moulon, Monasse and Marlet
(ACCV 2012). It takes wrong matches to be independent and anywhere in the image.
"""

from __future__ import annotations

import math

import pycolmap

_SAMPLE, _POSES_OF_SAMPLE = 3, 4  # P3P: three matches give up to four poses
_MOST_FALSE_ALARMS = 0.01
"""Expected for an image; wrong matches are not quite independent, so that more images of other places have such a pose:
one in a hundred by landmarks and by fused descriptors, eight by retrieval."""


def is_by_chance(num_inliers: int, num_matches: int, camera: pycolmap.Camera, max_error_px: float) -> bool:
    """Whether a pose may be by wrong matches alone, by its inliers within ``max_error_px`` of ``num_matches``."""
    share = math.pi * max_error_px**2 / (camera.width * camera.height)
    return log_false_alarms(num_inliers, num_matches, min(share, 1.0)) > math.log(_MOST_FALSE_ALARMS)


def log_false_alarms(num_inliers: int, num_matches: int, share: float) -> float:
    """Logarithm of the expected number of poses that agree with as many wrong matches.

    ``share`` is the part of the image in which a match agrees. Infinite for a pose that agrees with its sample only.
    """
    if num_inliers <= _SAMPLE:
        return math.inf
    return (
        math.log(_POSES_OF_SAMPLE * (num_matches - _SAMPLE))
        + _log_choose(num_matches, num_inliers)
        + _log_choose(num_inliers, _SAMPLE)
        + (num_inliers - _SAMPLE) * math.log(share)
    )


def _log_choose(count: int, chosen: int) -> float:
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)
