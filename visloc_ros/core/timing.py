"""Stage timings of every result, and the processor time of threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager


class Stopwatch:
    """Collects milliseconds by stage; ``with watch("pnp"): ...`` adds to that stage."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.stage_ms: dict[str, float] = {}
        self._clock = clock

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the enclosed block and add it to ``stage``."""
        start = self._clock()
        try:
            yield
        finally:
            elapsed = (self._clock() - start) * 1e3
            self.stage_ms[stage] = self.stage_ms.get(stage, 0.0) + elapsed

    def divided(self, count: int) -> Stopwatch:
        """The watch of one of ``count`` items that were processed together: it has an equal share of the time."""
        watch = Stopwatch()
        watch.stage_ms = {stage: taken / count for stage, taken in self.stage_ms.items()}
        return watch


class ProcessorTime:
    """Adds up the processor time of a thread by stage: ``with processor("odometry"): ...``."""

    def __init__(self) -> None:
        self._watch = Stopwatch(time.thread_time)
        self._reported, self._reported_s = dict[str, float](), time.monotonic()

    def __call__(self, stage: str) -> AbstractContextManager[None]:
        """Add the processor time of the enclosed block to ``stage``."""
        return self._watch(stage)

    @property
    def stage_ms(self) -> dict[str, float]:
        """Milliseconds of processor time by stage since the beginning."""
        return dict(self._watch.stage_ms)

    def take_shares(self) -> dict[str, float]:
        """Processor seconds a second by stage since the last call."""
        stage_ms, now_s = self.stage_ms, time.monotonic()
        passed_ms = 1e3 * max(now_s - self._reported_s, 1e-9)
        shares = {stage: (taken - self._reported.get(stage, 0.0)) / passed_ms for stage, taken in stage_ms.items()}
        self._reported, self._reported_s = stage_ms, now_s
        return shares
