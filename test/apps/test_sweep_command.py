"""``visloc sweep``: a row for each combination, done once."""

import json
import shutil

import pytest
from visloc_command import DEMO_MAP, succeed, visloc

from visloc_ros.apps.command_sweep import combinations
from visloc_ros.core.errors import ConfigError


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "walk.yaml").write_text("{duration_s: 3.0, rate_hz: 1.0, samples: 1}")
    succeed("simulate", folder / "walk", "--pass", "localize", "--config", folder / "walk.yaml")
    (folder / "lists.yaml").write_text("{top_k: [1, 5], pose: {max_error_px: 2.0}, search: retrieval}")
    return folder


def test_each_combination_has_a_row_which_is_done_once(walk):
    words = ("sweep", DEMO_MAP, walk / "walk", walk / "lists.yaml", "-o", walk / "out", "--json")
    rows = json.loads(succeed(*words, "--workers", 2).stdout)["rows"]
    assert [(row["options"]["top_k"], row["options"]["pose.max_error_px"]) for row in rows] == [
        (1, 2.0),
        (5, 2.0),
    ]
    assert all(row["found"] == row["images"] == 3 for row in rows)
    assert all(row["position_m"] < 0.05 for row in rows)
    assert json.loads(succeed(*words).stdout)["rows"] == rows  # also the times: nothing was searched again
    (walk / "more.yaml").write_text("{top_k: [1], pose.max_error_px: [2.0, 8.0], search: retrieval}")
    more = succeed(*words[:3], walk / "more.yaml", *words[4:])
    assert json.loads(more.stdout)["rows"][0] == rows[0]
    [*_, last] = succeed(*words[:-1]).stdout.splitlines()
    assert last.split()[:4] == ["5", "3", "of", "3"]


def test_rows_are_done_again_once_map_or_images_have_changed(walk, tmp_path):
    shutil.copytree(walk / "walk", tmp_path / "moved" / "walk")
    for name in ("map", "moved_map"):
        shutil.unpack_archive(DEMO_MAP, tmp_path / name)
    (tmp_path / "one.yaml").write_text("{top_k: [1], search: retrieval}")

    def rows(place, map_path):
        words = ("sweep", map_path, place, tmp_path / "one.yaml", "-o", tmp_path / "out", "--json")
        return json.loads(succeed(*words).stdout)["rows"], len(list((tmp_path / "out").rglob("*.npz")))

    first, _ = rows(walk / "walk", tmp_path / "map")
    assert rows(tmp_path / "moved" / "walk", tmp_path / "moved_map") == (first, 1)
    image = next((tmp_path / "moved" / "walk" / "rgb").iterdir())
    image.write_bytes(image.read_bytes() + b"\0")
    assert rows(tmp_path / "moved" / "walk", tmp_path / "map")[1] == 2
    manifest = tmp_path / "map" / "manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    assert rows(tmp_path / "moved" / "walk", tmp_path / "map")[1] == 3


def test_an_option_that_is_unknown_is_refused_before_the_work(walk):
    (walk / "wrong.yaml").write_text("{topk: [1, 5]}")
    refused = visloc("sweep", DEMO_MAP, walk / "walk", walk / "wrong.yaml", "-o", walk / "none")
    assert "unknown option" in str(refused.exception)
    assert "top_k" in str(refused.exception)


def test_too_many_combinations_are_refused():
    with pytest.raises(ConfigError, match="100000 combinations"):
        list(combinations({f"option_{n}": list(range(10)) for n in range(5)}))
