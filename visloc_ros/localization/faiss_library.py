"""faiss, which is large and is loaded only where it is needed."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from visloc_ros.core.errors import ModelError


def load_faiss(purpose: str, otherwise: str = "") -> Any:
    """The library. Raises ModelError that says what it is needed for, and what to do, where it is not installed."""
    if importlib.util.find_spec("faiss") is None:
        raise ModelError(f"{purpose} needs faiss: pip install faiss-cpu{otherwise}")
    return importlib.import_module("faiss")
