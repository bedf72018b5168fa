import os
from collections.abc import Callable
from pathlib import Path

import pytest
from street_walk import write_walk


@pytest.fixture(scope="session")
def street_walk(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Folder of rendered views and photos."""
    return made_once("street_walk", write_walk)


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    """Databases of the tests need not survive a failure of power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
