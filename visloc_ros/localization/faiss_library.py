"""faiss, which is large and is loaded only where it is needed."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from visloc_ros.core.errors import ModelError


def load_faiss(complaint: str) -> Any:
    """The library. Raises ModelError with this complaint where it is not installed."""
    if importlib.util.find_spec("faiss") is None:
        raise ModelError(complaint)
    return importlib.import_module("faiss")
