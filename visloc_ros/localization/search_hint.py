"""What is known beside the image about the camera's place: a position, a heading, a text that the robot has read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.localization.heading_hint import HeadingHint
from visloc_ros.localization.position_hint import PositionHint
from visloc_ros.localization.view_change import Viewpoints


@dataclass(frozen=True, eq=False)
class SearchHint:
    """What is known beside an image; each part may be missing.

    ``position`` and ``heading`` are of the camera, in the map that is searched. ``text`` (E,) is an embedding of the
    text written there, of any norm but zero, which is normalised to 1; only recognisers that were trained with
    embeddings of the same model use it. Raises ConfigError for what is no embedding.
    """

    position: PositionHint | None = None
    heading: HeadingHint | None = None
    text: Array | None = None

    def __post_init__(self) -> None:
        if self.text is not None:
            object.__setattr__(self, "text", unit_embedding(self.text, "the text of a hint"))

    @property
    def needs_up(self) -> bool:
        """Whether it needs a map whose z axis points up."""
        return self.heading is not None or (self.position is not None and self.position.needs_up)

    def rules_out(self, map_from_camera: SE3) -> bool:
        """Whether a pose is too far from the position, or turned too far from the heading, to be right."""
        return any(one is not None and one.rules_out(map_from_camera) for one in (self.position, self.heading))

    def permits_views(self, views: Viewpoints) -> NDArray[np.bool_]:
        """Which views (M,) may show the same, by position and heading. Raises ConfigError for a text."""
        if self.text is not None:
            raise ConfigError("only the search by landmarks knows what a text says: leave it out, or search by these")
        permitted = np.ones(len(views.centres), bool)
        if self.position is not None:
            permitted &= self.position.permits(views.centres, views.depths)
        if self.heading is not None:
            permitted &= self.heading.permits_views(views.axes)
        return permitted

    def log_odds(self, map_from_camera: SE3, map_from_other: SE3) -> float:
        """Natural logarithm of how much more probable position and heading make the first of two poses."""
        known = [one for one in (self.position, self.heading) if one is not None]
        return sum(0.5 * (one.sigmas(map_from_other) ** 2 - one.sigmas(map_from_camera) ** 2) for one in known)


def unit_embedding(values: Array, name: str) -> Array:
    """An embedding (E,) of length 1. Raises ConfigError that says what ``name`` must be."""
    vector = np.asarray(values, np.float64)
    length = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
    if not (np.isfinite(length) and length > 0.0):
        raise ConfigError(f"{name} must be one row of numbers, not all zero: the embedding of what is written")
    return vector / length
