"""``visloc maps coverage`` and ``visloc geo coverage`` say where photos can be localized."""

import json

import pycolmap
import pytest
from visloc_command import DEMO_MAP, visloc

from visloc_ros.core.errors import ConfigError, OutputError
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.geo.database import GeoDatabase
from visloc_ros.geo.view import Orientation, View
from visloc_ros.sources.measurements import GeoPosition


@pytest.fixture
def streets(tmp_path):
    """Two panoramas, 15 m from each other."""
    origin = EnuFrame(55.7, 13.2, 40.0)
    database = GeoDatabase.create(tmp_path / "streets", origin)
    camera = pycolmap.Camera(model="PINHOLE", width=640, height=640, params=[320.0, 320.0, 320.0, 320.0])
    for east in (0.0, 15.0):
        at = GeoPosition(*(float(value) for value in origin.to_geodetic([east, 0.0, 0.0])[0]))
        for heading in range(0, 360, 45):
            database.add(View(f"{east:g}_{heading}", at, Orientation(heading), camera))
    return database.folder


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


def test_a_database_is_described_in_words_in_json_as_a_page_and_as_a_picture(tmp_path, streets):
    finished = visloc("geo", "coverage", streets, "-o", tmp_path / "page.html", "--json")
    values = json.loads(finished.stdout)
    assert 0.0 < values["recall"] < 1.0
    cell = min(values["cells"], key=lambda one: abs(one["x"] - 7.5) + abs(one["y"] - 2.5))
    assert (cell["latitude"], cell["longitude"]) == pytest.approx((55.7, 13.2), abs=3e-4)
    page = (tmp_path / "page.html").read_text()
    assert page.count('"number": ') == len(values["cells"])
    assert "100% of photos located" in page
    shown = visloc("geo", "coverage", streets, "-o", tmp_path / "picture.png").stdout
    assert "of images are expected to be localized" in shown
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
