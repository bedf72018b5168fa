"""What requests cost, and limits that stop before they are exceeded."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from visloc_ros.core.errors import GeoError


@dataclass(frozen=True)
class Cost:
    """Requests and US dollars; ``at_least`` where their number depends on the answers."""

    requests: int = 0
    usd: float = 0.0
    at_least: bool = False

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.requests + other.requests, self.usd + other.usd, self.at_least or other.at_least)

    def __str__(self) -> str:
        words = "1 request" if self.requests == 1 else f"{self.requests} requests"
        return f"{'at least ' if self.at_least else ''}{words}, {self.usd:.3f} USD"


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of costs."""
    return sum(costs, Cost())


class StopError(GeoError):
    """No further request can help: a limit is reached, or the service refuses all of them."""


class Budget:
    """Counts requests of all threads, and refuses the one that would exceed a limit."""

    def __init__(self, max_requests: int | None = None, max_usd: float | None = None) -> None:
        self._max_requests, self._max_usd = max_requests, max_usd
        self._lock = threading.Lock()
        self._spent = Cost()

    @property
    def spent(self) -> Cost:
        """What was asked so far, repeated attempts included."""
        return self._spent

    def spend(self, usd: float) -> None:
        """Count a request that is about to be sent. Raises StopError instead where it would exceed a limit."""
        with self._lock:
            after = self._spent + Cost(1, usd)
            if self._max_requests is not None and after.requests > self._max_requests:
                raise StopError(
                    f"stopped at --max-requests {self._max_requests}: what came is kept, the same command continues"
                )
            if self._max_usd is not None and after.usd > self._max_usd and not math.isclose(after.usd, self._max_usd):
                raise StopError(
                    f"stopped before --max-usd {self._max_usd:.2f} ({self._spent.usd:.3f} USD are spent): what came is "
                    "kept, the same command continues"
                )
            self._spent = after
