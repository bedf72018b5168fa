"""The machines of the test cluster start by real commands."""

from pathlib import Path

import pytest
import yaml

CLUSTER = Path(__file__).resolve().parents[1] / "containers" / "cluster.yaml"


def test_the_machines_of_the_test_cluster_start_by_real_commands_and_share_a_folder():
    scripts = pytest.importorskip("ray.scripts.scripts")
    cluster = yaml.safe_load(CLUSTER.read_text(encoding="utf-8"))["services"]
    head, worker = ({**scripts.start.make_context("start", one["command"]).params} for one in cluster.values())
    assert (head["head"], worker["head"], worker["address"]) == (True, False, f"head:{head['port']}")
    assert all(one["volumes"] == cluster["head"]["volumes"] and one["read_only"] for one in cluster.values())
    assert head["disable_usage_stats"]
    assert worker["disable_usage_stats"]
