"""The real nodes under a storm of messages and requests: they live, answer, and know afterwards where they are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from search_length import EXAMPLES

HERE = Path(__file__).parent
DEMO_MAP = HERE.parents[1] / "maps" / "demo_room.tar.gz"
MESSAGES, CALLS = (50 * EXAMPLES, 5 * EXAMPLES) if EXAMPLES else (600, 40)
MOST_GROWTH = 1.05


@pytest.mark.timeout(0 if EXAMPLES else 400)
def test_the_nodes_outlive_a_storm(tmp_path, ros_domain):
    command = [sys.executable, HERE / "storm.py", DEMO_MAP, tmp_path, str(MESSAGES), str(CALLS), "1"]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]
    figures = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert (figures["messages"], figures["calls"]) == (MESSAGES, CALLS)
    assert figures["outputs"] > 30
    assert (figures["deaths"], figures["unanswered"], figures["absurd_outputs"]) == (0, 0, 0), figures
    failures = [line for line in done.stderr.splitlines() if "failed, " in line]  # as the guard tells them
    assert not failures, failures[0]
    print(done.stderr[-20_000:])  # shown if this fails
    assert all(figures["recoveries_s"]), (figures["recoveries_s"], figures["last_status"])
    if EXAMPLES:  # in a short storm memory is still being filled
        assert all(used[-1] < MOST_GROWTH * used[0] for used in figures["memory_mb"].values()), figures
