"""``visloc maps coverage`` reports where images can be localized."""

import json

from visloc_command import DEMO_MAP, visloc

from visloc_ros.core.errors import ConfigError, OutputError


def test_a_map_is_described_in_words_in_json_and_as_a_picture(tmp_path):
    shown = visloc("maps", "coverage", DEMO_MAP, "-o", tmp_path / "picture.png").stdout
    assert "of images are expected to be localized, in " in shown
    assert "cells of 0.5 m at any heading; least at" in shown
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    values = json.loads(visloc("maps", "coverage", DEMO_MAP, "--cell", "1", "--json").stdout)
    assert (values["cell"], values["map"]) == (1.0, "demo_room")
    assert 0.5 < values["recall"] < 0.8
    assert {len(cell["by_heading"]) for cell in values["cells"]} == {len(values["headings_deg"])} == {12}


def test_small_cells_and_pictures_without_a_folder_are_refused(tmp_path):
    assert isinstance(visloc("maps", "coverage", DEMO_MAP, "--cell", "0.01").exception, ConfigError)
    assert isinstance(visloc("maps", "coverage", DEMO_MAP, "-o", tmp_path / "no" / "a.png").exception, OutputError)
