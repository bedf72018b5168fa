"""Several requests at once; whatever they bring reaches the caller, also when one of them must be the last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from visloc_geo.providers.cost import StopError
from visloc_geo.providers.http import WORKERS
from visloc_ros.core.errors import VislocError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int = WORKERS
) -> Iterator[tuple[Item, Result | VislocError]]:
    """Items with their results, or with the VislocError that each raised, as they come.

    A StopError ends it: nothing new is begun, what is under way is still given, then it is raised.
    """
    source, stop = iter(items), None
    running: dict[Future[Result], Item] = {}
    pool = ThreadPoolExecutor(workers, thread_name_prefix="requests")
    try:
        while True:
            for item in islice(source, 0 if stop else 2 * workers - len(running)):
                running[pool.submit(work, item)] = item
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                finished, error = running.pop(future), future.exception()
                if isinstance(error, StopError):
                    stop = error
                else:
                    yield finished, error if isinstance(error, VislocError) else future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if stop is not None:
        raise stop
