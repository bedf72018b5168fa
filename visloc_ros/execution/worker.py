"""What a worker process does with an item, on this computer or on another one."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_limits

from visloc_ros.core.errors import SetupError, VislocError

Outcome = tuple[Any] | Exception
"""The result of an item, alone in a tuple, or the error."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def outcome_of(function: Callable[[Any], Any], item: Any, processors: float) -> Outcome:
    """Do an item with as many threads as it has processors.

    A VislocError is given as it is, of other errors RuntimeError with the trace.
    """
    threads = max(1, int(processors))
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))  # of libraries that are imported later
    try:
        with threadpool_limits(threads):
            return (function(item),)
    except VislocError as error:
        return error
    except MemoryError:
        return SetupError(f"{item} needs more memory than there is for it")
    except Exception:
        return RuntimeError(traceback.format_exc())
