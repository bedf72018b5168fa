"""What became of the newest frames, in numbers for the diagnostics."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np

from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, Rejection

_REMEMBERED = 200  # frames


class OdometryStatistics:
    """Counts frames without a pose by reason, and remembers how long the newest took."""

    def __init__(self) -> None:
        self.last: OdometryPose | Rejection | None = None
        self._losses: Counter[str] = Counter()
        self._num_tracked = 0
        self._stamps_ns: deque[int] = deque(maxlen=_REMEMBERED)
        self._latencies_ms: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, result: OdometryPose | Rejection) -> None:
        """Take the result of the next frame."""
        if self.last is not None and result.stamp_ns <= self.last.stamp_ns:  # a looped bag
            self._stamps_ns.clear()
        self.last = result
        self._stamps_ns.append(result.stamp_ns)
        self._latencies_ms.append(sum(result.stage_ms.values()))
        if isinstance(result, Rejection):
            self._losses[result.reason.value] += 1
        else:
            self._num_tracked += 1

    def values(self) -> dict[str, object]:
        """Numbers by name; rate and latency are of the last 200 frames, the others since the start."""
        if self.last is None:
            return {}
        values: dict[str, object] = {"tracked": self._num_tracked}
        values |= {f"lost {reason}": count for reason, count in self._losses.items()}
        p50, p95 = np.percentile(self._latencies_ms, [50, 95])
        values |= {"frames a second": self._rate(), "latency p50 [ms]": f"{p50:.1f}", "latency p95 [ms]": f"{p95:.1f}"}
        return values | self._of_pose(self.last)

    def _rate(self) -> str:
        seconds = (self._stamps_ns[-1] - self._stamps_ns[0]) / NANOSECONDS
        return f"{(len(self._stamps_ns) - 1) / seconds:.1f}" if seconds > 0 else "unknown"

    @staticmethod
    def _of_pose(last: OdometryPose | Rejection) -> dict[str, object]:
        if isinstance(last, Rejection):
            return {}
        values: dict[str, object] = {"features": last.num_tracked, "segment": last.segment}
        if last.scale is not None:
            values["metres a unit"] = f"{last.scale.metres_per_unit:.4g} +- {100 * last.scale.log_sigma:.1f} %"
        if last.up_in_odom is not None:
            values["up in odometry"] = " ".join(f"{value:.3f}" for value in last.up_in_odom)
        return values
