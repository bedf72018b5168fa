"""Hints of a request, and answers on the earth: as fields and as GeoJSON."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from test_serve import CAMERA, DEMO_MAP, ROOM, asked_here, jpeg

from visloc_ros.core.geo_reference import GeoReference
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import read_manifest, write_manifest
from visloc_ros.core.map_archive import unpacked
from visloc_ros.core.types import Estimate, State
from visloc_server.answers import LocalizeAnswer
from visloc_server.app import make_app
from visloc_server.config import ServerConfig
from visloc_server.geojson import GEOJSON
from visloc_server.stream_route import estimate_to_mapping

LATITUDE, LONGITUDE = -33.9, 151.2
DEGREE_M = 110_900.0  # north, there


@pytest.fixture(scope="module")
def earth(tmp_path_factory):
    """A server in this process with a map of the room on the earth, and one that is not."""
    folder = tmp_path_factory.mktemp("earth")
    with unpacked(DEMO_MAP) as room:
        shutil.copytree(room, folder / "room")
        shutil.copytree(room, folder / "nowhere")
    origin = {"latitude": LATITUDE, "longitude": LONGITUDE}
    level = read_manifest(folder / "nowhere")
    write_manifest(folder / "nowhere", replace(level, gravity_aligned=False))
    write_manifest(folder / "room", replace(read_manifest(folder / "room"), geo_origin=origin))
    with asked_here(make_app(ServerConfig(folder))) as client:
        yield client


def ask(client, accept="application/json", index=0, **fields):
    files, data = {"image": ("image.jpg", jpeg(index))}, {"map": "room", "camera": CAMERA, **fields}
    return client.post("/localize", files=files, data=data, headers={"Accept": accept})


def test_the_pose_is_on_the_earth_too_and_an_anchor_keeps_the_origin(earth):
    answer = ask(earth).json()
    position, found = ROOM.pose(0).translation, answer["geo_pose"]
    assert found["latitude"] == pytest.approx(LATITUDE + position[1] / DEGREE_M, abs=1e-6)
    assert found["altitude"] is None
    origin = {"latitude": LATITUDE, "longitude": LONGITUDE, "altitude": None, "axes_sigma_deg": 6.0}
    assert answer["map_origin"] == origin
    anchor = LocalizeAnswer.model_validate(answer).anchor(1)
    assert anchor.map.on_earth == GeoReference(LATITUDE, LONGITUDE)
    origins = {one["name"]: one["map_origin"] for one in earth.get("/reference/status").json()}
    assert origins == {"room": answer["map_origin"], "nowhere": None}


def test_geojson_is_a_point_or_a_feature_without_one(earth):
    found = ask(earth, GEOJSON)
    assert found.headers["content-type"] == GEOJSON
    feature = found.json()
    assert (feature["type"], feature["geometry"]["type"]) == ("Feature", "Point")
    pose = feature["properties"]["geo_pose"]
    assert feature["geometry"]["coordinates"] == [pose["longitude"], pose["latitude"]]
    lost = ask(earth, f"text/html, {GEOJSON};q=0.9", position="-300 0", position_sigma="1").json()
    assert (lost["geometry"], lost["properties"]["success"]) == (None, False)
    refused = ask(earth, GEOJSON, map="nowhere")
    assert (refused.status_code, "visloc align-map --gps" in refused.text) == (422, True)


def test_a_hint_decides_and_a_wrong_one_is_refused_in_words(earth):
    near = {"gps": f"{LATITUDE}, {LONGITUDE}", "position_sigma": "10"}
    assert ask(earth, **near).json()["success"]
    assert not ask(earth, **{**near, "gps": f"{LATITUDE + 0.01} {LONGITUDE}"}).json()["success"]
    for fields, words in (
        ({**near, "map": "nowhere"}, "visloc align-map --gps"),
        ({"map": "nowhere", "heading": "90", "heading_sigma": "5"}, "level it with 'visloc align-map'"),
        ({"position": "1 2"}, "standard deviation"),
        ({"heading": "north"}, "heading"),
        ({"heading": "90", "heading_sigma": "-1"}, "must be positive"),
        ({"text": "1 2 3"}, "leave the text out"),
    ):
        answer = ask(earth, **fields)
        assert (answer.status_code, words in answer.text) == (422, True), answer.text


@pytest.mark.parametrize("state", State)
def test_a_stream_has_reliable_poses_on_the_earth(state):
    estimate = Estimate(1, state, None, SE3.identity(), ROOM.pose(0), np.eye(6))
    geo_pose = estimate_to_mapping(estimate, GeoReference(LATITUDE, LONGITUDE))["geo_pose"]
    assert (geo_pose is not None) == (state in (State.LOCALIZED, State.DEGRADED))
    assert estimate_to_mapping(estimate, None)["geo_pose"] is None


def test_the_fields_are_described(earth):
    described = earth.get("/openapi.json").json()
    [form] = [one for name, one in described["components"]["schemas"].items() if name.startswith("Body_localize_")]
    assert {"position", "gps", "position_sigma", "heading", "heading_sigma", "text"} <= form["properties"].keys()
    answers = described["paths"]["/localize"]["post"]["responses"]["200"]["content"]
    assert answers.keys() == {"application/json", GEOJSON}
