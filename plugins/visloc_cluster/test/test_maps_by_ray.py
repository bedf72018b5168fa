"""Maps that workers of Ray build are those of one process."""

import json
from pathlib import Path

from test_batch_command import CONFIG, assert_alike, two_walks
from visloc_command import succeed

ROOT = Path(__file__).resolve().parents[3]


def test_maps_are_the_same_by_ray_and_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # workers of Ray begin in another folder
    monkeypatch.chdir(tmp_path)  # paths that are not from the root
    two_walks(tmp_path / "recordings")
    (tmp_path / "config.yaml").write_text(CONFIG)
    succeed("batch", "recordings", "-o", "in_order", "--config", "config.yaml")
    options = ("--engine", "ray", "--workers", 2, "--config", "config.yaml", "--json")
    told = succeed("batch", "recordings", "-o", "ray", *options)
    assert [one["state"] for one in json.loads(told.stdout)["recordings"]] == ["built", "built"]
    assert_alike(tmp_path / "in_order", tmp_path / "ray")
