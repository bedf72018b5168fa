"""What a back end joins, each by its kind and its stamp; ``LocalizationStatus`` tells them by the same numbers."""

from dataclasses import dataclass
from enum import Enum


class InputKind(Enum):
    """The kinds of what is joined."""

    ODOMETRY = 0
    ANCHOR = 1
    TRACKED_POSE = 2
    LOOP = 3
    POSE_PRIOR = 4
    RELOCALIZE = 5
    SILENCE = 6


@dataclass(frozen=True)
class Input:
    """What was joined. With all inputs in their order the output can be recomputed.

    ``stamp_ns`` is that of the measurement (of a loop, of its later frame; of a silence, of what is published then);
    0 for what has none.
    """

    kind: InputKind
    stamp_ns: int = 0
