"""Stage timings that travel with every result."""

from __future__ import annotations

import time
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
