"""Threads that wait for each other sleep, as a search must share the processor; computations are not kept for ever."""

import os
import subprocess
import sys

import pytest

from visloc_ros.core.torch_environment import prepare_torch

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "LRU_CACHE_CAPACITY")
SCRIPT = f"import os; from visloc_ros.features.backends import aliked; print(*map(os.environ.get, {NAMES}))"


def test_torch_loaded_through_this_package_neither_spins_nor_keeps_much():
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    loaded = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment)
    assert loaded.stdout.strip() == "PASSIVE 3000 64"


@pytest.mark.parametrize(
    ("chosen", "used"),
    [
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", None, "64"]),
        ({"GOMP_SPINCOUNT": "7", "LRU_CACHE_CAPACITY": "1024"}, ["PASSIVE", "7", "1024"]),
    ],
)
def test_what_the_user_has_set_stays(chosen, used, monkeypatch):
    monkeypatch.setattr(os, "environ", chosen)
    prepare_torch()
    assert [chosen.get(name) for name in NAMES] == used
