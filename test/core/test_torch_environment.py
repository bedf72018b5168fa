"""Threads that wait for each other sleep, as a search must share the processor; computations are not kept for ever."""

import os
import subprocess
import sys

import pytest

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "LRU_CACHE_CAPACITY")
SCRIPT = f"import os; from visloc_ros.features.backends import aliked; print(*map(os.environ.get, {NAMES}))"


@pytest.mark.parametrize(
    ("chosen", "used"),
    [
        ({}, "PASSIVE 3000 64"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None 64"),
        ({"GOMP_SPINCOUNT": "7", "LRU_CACHE_CAPACITY": "1024"}, "PASSIVE 7 1024"),
    ],
)
def test_whoever_loads_torch_through_this_package_does_neither_spin_nor_keep_much_unless_asked_to(chosen, used):
    environment = {name: value for name, value in os.environ.items() if name not in NAMES} | chosen
    told = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment)
    assert told.stdout.strip() == used
