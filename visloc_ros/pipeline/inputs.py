"""The inputs that a back end joins, each by its kind and stamp; ``LocalizationStatus`` uses the same numbers."""

from dataclasses import dataclass
from enum import Enum


class InputKind(Enum):
    """The kinds of inputs."""

    ODOMETRY = 0
    ANCHOR = 1
    TRACKED_POSE = 2
    LOOP = 3
    POSE_PRIOR = 4
    RELOCALIZE = 5
    SILENCE = 6
    MAP = 7


@dataclass(frozen=True)
class Input:
    """An input that was joined. With all inputs in their order the output can be recomputed.

    ``stamp_ns`` is that of the measurement (for a loop, of its later frame; for a silence, of the output then); 0 for
    an input without a stamp.
    """

    kind: InputKind
    stamp_ns: int = 0
