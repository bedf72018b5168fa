import os

import pytest


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    """Databases of the tests need not survive a failure of power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
