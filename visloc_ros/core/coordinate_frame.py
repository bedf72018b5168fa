"""The coordinate frame of a map: which one it is, whatever the map is called, and how frames before it lie in it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from visloc_ros.core.geometry import SE3, Sim3

MOST_EARLIER = 16
"""Frames whose transforms are kept: a map is aligned a few times in its life."""
_LARGEST = 1e9  # of a translation or a scale


@dataclass(frozen=True)
class CoordinateFrame:
    """A frame by its UUID, equal to every other of the same.

    ``frame_from_earlier`` are the transforms of frames that the same map had before. The UUID is made with the frame,
    by a build or an alignment. It is kept when the map is extended, updated, thinned out or copied: none of these moves
    what is there.
    """

    uuid: str
    frame_from_earlier: Mapping[str, Sim3] = field(default_factory=dict, compare=False)

    @staticmethod
    def new() -> CoordinateFrame:
        """A frame that nothing has been in before."""
        return CoordinateFrame(new_uuid())

    def moved(self, moved_from_frame: Sim3) -> CoordinateFrame:
        """A new frame, which this one lies in by a transform."""
        earlier = {known: moved_from_frame @ one for known, one in self.frame_from_earlier.items()}
        kept = [*earlier.items(), (self.uuid, moved_from_frame)][-MOST_EARLIER:]
        return CoordinateFrame(new_uuid(), dict(kept))

    def from_frame(self, other: CoordinateFrame) -> Sim3 | None:
        """``self_from_other``; None where no transform between the two is known."""
        if self == other:
            return Sim3.identity()
        if other.uuid in self.frame_from_earlier:
            return self.frame_from_earlier[other.uuid]
        if self.uuid in other.frame_from_earlier:
            return other.frame_from_earlier[self.uuid].inverse
        common = next((known for known in self.frame_from_earlier if known in other.frame_from_earlier), None)
        if common is None:
            return None
        return self.frame_from_earlier[common] @ other.frame_from_earlier[common].inverse


def is_uuid(text: str) -> bool:
    """Whether a text can be the UUID of a frame."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def new_uuid() -> str:
    """The UUID of a new frame."""
    return str(uuid.uuid4())


def derived_uuid(content: str) -> str:
    """The UUID of a frame that was made without one, by what is in it: the same whenever that is opened."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, content))


def earlier_to_plain(frame: CoordinateFrame) -> list[dict[str, Any]]:
    """The transforms from earlier frames as plain values."""
    return [
        {
            "uuid": known,
            "translation": one.translation.tolist(),
            "rotation_wxyz": SE3(one.rotation, one.translation).quaternion.tolist(),
            "scale": one.scale,
        }
        for known, one in frame.frame_from_earlier.items()
    ]


def earlier_from_plain(values: Sequence[Mapping[str, Any]]) -> dict[str, Sim3]:
    """``frame_from_earlier`` of plain values. Raises ValueError where these are garbled."""
    try:
        return {str(one["uuid"]): _transform(one) for one in values}
    except (KeyError, TypeError) as error:
        raise ValueError(f"a transform from an earlier frame lacks or garbles {error}") from error


def _transform(values: Mapping[str, Any]) -> Sim3:
    moved, turned = np.array(values["translation"], np.float64), np.array(values["rotation_wxyz"], np.float64)
    scale = float(values["scale"])
    is_sound = moved.shape == (3,) and turned.shape == (4,) and np.abs(moved).max() < _LARGEST
    if not (is_sound and 0.0 < scale < _LARGEST and 0.5 < np.linalg.norm(turned) < 2.0):
        raise ValueError("a transform from an earlier frame is none")
    return Sim3.from_se3(SE3.from_quaternion(turned, moved), scale)
