"""The kinds of what a back end joins; ``LocalizationStatus`` tells them by the same numbers."""

from enum import Enum


class Input(Enum):
    """What was joined. With the order of all inputs the output can be computed anew."""

    ODOMETRY = 0
    ANCHOR = 1
    TRACKED_POSE = 2
    LOOP = 3
    POSE_PRIOR = 4
    RELOCALIZE = 5
    SILENCE = 6
