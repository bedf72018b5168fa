"""Stage timings that travel with every result, and what threads take of a processor."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Collects milliseconds by stage; ``with watch("pnp"): ...`` adds to that stage."""

    def __init__(self) -> None:
        self.stage_ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the enclosed block and add it to ``stage``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = (time.perf_counter() - start) * 1e3
            self.stage_ms[stage] = self.stage_ms.get(stage, 0.0) + elapsed

    def divided(self, count: int) -> Stopwatch:
        """A watch of one of ``count`` things that were worked off together: it has an equal share of the time."""
        watch = Stopwatch()
        watch.stage_ms = {stage: taken / count for stage, taken in self.stage_ms.items()}
        return watch


class ProcessorTime:
    """Adds up the processor time of a thread by stage: ``with processor("odometry"): ...``."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._told, self._told_s = dict[str, float](), time.monotonic()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add what the enclosed block takes of the processor to ``stage``."""
        begin_s = time.thread_time()
        try:
            yield
        finally:
            self._seconds[stage] += time.thread_time() - begin_s

    def take_shares(self) -> dict[str, float]:
        """Processor seconds a second by stage since the last call."""
        seconds, now_s = dict(self._seconds), time.monotonic()
        passed_s = max(now_s - self._told_s, 1e-9)
        shares = {stage: (taken - self._told.get(stage, 0.0)) / passed_s for stage, taken in seconds.items()}
        self._told, self._told_s = seconds, now_s
        return shares
