"""Several items at once, results in order, memory bounded.

Measured on two busy processors: a network that splits each of its operations over both waits at every one of them
(12 s a match), one network a thread does not (0.5 s). So the parts of a build run side by side, each single-threaded.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from visloc_ros.execution.this_computer import num_processors

Item = TypeVar("Item")
Result = TypeVar("Result")
Model = TypeVar("Model")

_MOST_WORKERS = 4
_WAITING_PER_WORKER = 2


def count_workers(wanted: int) -> int:
    """Threads to use: as many as wanted, or, for 0, one for each available processor, up to four."""
    return wanted or min(num_processors(), _MOST_WORKERS)


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Apply a function in threads; items are drawn only shortly before they are needed.

    An exception, from the function or from the consumer of the results, drops items that are not begun yet.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mapping")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= workers * _WAITING_PER_WORKER:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class PerThread(Generic[Model]):
    """Gives every thread its own model, the first of them a given one: models may keep state between calls."""

    def __init__(self, make: Callable[[], Model]) -> None:
        self._make = make
        self._local = threading.local()
        self._spare: list[Model] = [make()]
        self._lock = threading.Lock()
        self.first = self._spare[0]

    def __call__(self) -> Model:
        """The model of the calling thread."""
        if not hasattr(self._local, "model"):
            with self._lock:
                self._local.model = self._spare.pop() if self._spare else self._make()
        model: Model = self._local.model
        return model
