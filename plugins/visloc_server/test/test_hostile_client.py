"""The HTTP server under hostile uploads, and asked for anything that its own description allows."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from search_length import EXAMPLES, SEARCH

from plugins.visloc_server.testing.server_process import WAIT_S, running
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_server.app import make_app
from visloc_server.config import ServerConfig

HERE = Path(__file__).parent
DEMO_MAP = HERE.parents[2] / "maps" / "demo_room.tar.gz"
UPLOADS = EXAMPLES or 25
DESCRIBED = schemathesis.openapi.from_dict(make_app(ServerConfig(HERE)).openapi())
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.timeout(0 if EXAMPLES else 240)
def test_the_server_outlives_hostile_uploads_and_nothing_is_left_of_them():
    root = HERE.parents[2]
    paths = os.pathsep.join(map(str, (root, root / "test" / "nodes", root / "test" / "hostile")))
    with tempfile.TemporaryDirectory() as folder:  # a short name: sockets lie in the server's temporary folder
        command = [sys.executable, HERE / "hostile_client.py", DEMO_MAP, Path(folder) / "host", str(UPLOADS), "1"]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["requests"] == UPLOADS
    assert {kind: figures[kind] for kind in ("not_allowed", "private", "left_behind", "gone")} == {
        "not_allowed": [],
        "private": [],
        "left_behind": [],
        "gone": [],
    }
    assert "room.tar.gz" in figures["maps"]
    assert sum(count for outcome, count in figures["outcomes"].items() if outcome == "image: 200") > 0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    shutil.copy(DEMO_MAP, folder / "room.tar.gz")
    with running(folder) as server:
        yield server


@cache
def image():
    room = simulate(SimulationConfig(width=160, height=120, focal_px=120.0, samples=1), "localize")
    return encode_jpeg(room.frame(0).image, 90)


@DESCRIBED.parametrize()
@SEARCH
def test_whatever_its_description_allows_is_answered_as_it_says(server, case):
    if isinstance(case.body, dict) and case.body.get("fx") is None:  # else nothing would come as far as the search
        case.body |= {"image": image(), "map": "room.tar.gz"}
    if case.path == "/reference/maps/{name}" and case.method == "GET":
        case.path_parameters = {"name": "room.tar.gz"}
    case.call_and_validate(base_url=f"http://127.0.0.1:{server.port}", checks=CHECKS, timeout=WAIT_S)
