"""How often this process was started again, as who supervises it tells by an environment variable."""

from __future__ import annotations

import os

RESTARTS_VARIABLE = "VISLOC_RESTARTS"


def restarts() -> int:
    """How often this process was started again; 0 where nobody tells."""
    told = os.environ.get(RESTARTS_VARIABLE, "")
    return int(told) if told.isdecimal() else 0
