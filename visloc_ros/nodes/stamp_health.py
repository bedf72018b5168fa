"""Whether images are stamped by the clock that this node goes by: what is wrong, in words that say what to do."""

from __future__ import annotations

from collections import deque
from statistics import median

from visloc_ros.core.trajectory import NANOSECONDS

FUTURE_S = 0.05  # by which clocks of a robot's computers differ that are synchronized at all; no image is ahead of time
CLOCK_STEP_S = 0.2  # of /clock at the least rate that anybody plays it at: images are ahead of it by up to a step
LATE_S = 1.0  # after its stamp that an image arrives: ten times what a slow camera and network need
FAR_S = 60.0  # two clocks of one moment are never so far apart: these are different times
_KEPT, _FEWEST = 50, 5  # images that are gone by


class StampHealth:
    """Hears the stamp of each image and when, by the node's clock, it arrived."""

    def __init__(self, uses_sim_time: bool) -> None:
        self._uses_sim_time = uses_sim_time
        self._ages_s: deque[float] = deque(maxlen=_KEPT)
        self._has_clock = True

    def image(self, stamp_ns: int, now_ns: int) -> None:
        """An image has arrived."""
        self._has_clock = now_ns > 0
        self._ages_s.append((now_ns - stamp_ns) / NANOSECONDS)

    def warning(self, is_clock_published: bool) -> str:
        """What is wrong, or nothing; ``is_clock_published`` tells whether anybody sends /clock."""
        if not self._has_clock and self._uses_sim_time:
            return (
                "use_sim_time is set, but no time comes on /clock: play the bag with --clock, or start the nodes with"
                " use_sim_time:=false."
            )
        if len(self._ages_s) < _FEWEST:
            return ""
        age_s = median(self._ages_s)
        if abs(age_s) > FAR_S:
            return self._far(age_s, is_clock_published)
        if age_s < -(CLOCK_STEP_S if self._uses_sim_time else FUTURE_S):
            return (
                f"Images are stamped {-age_s:.2f} s in the future: the camera's computer has another clock;"
                " synchronize them (chrony)."
            )
        if age_s > LATE_S:
            return (
                f"Images arrive {age_s:.1f} s after they were taken: poses and transforms are as late. Look at the"
                " driver's queue, the network, or synchronize the clocks (chrony)."
            )
        return ""

    def _far(self, age_s: float, is_clock_published: bool) -> str:
        where = f"Images are stamped {_words(abs(age_s))} {'before' if age_s > 0 else 'after'}"
        if self._uses_sim_time:
            return f"{where} the time of /clock: these images are of another recording, or live (use_sim_time:=false)."
        if is_clock_published:
            return f"{where} this computer's clock, and /clock is published: a replay needs use_sim_time:=true."
        return (
            f"{where} this computer's clock: synchronize the clocks (chrony), or play the bag with --clock and start"
            " the nodes with use_sim_time:=true."
        )


def _words(seconds: float) -> str:
    for unit, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2.0 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
