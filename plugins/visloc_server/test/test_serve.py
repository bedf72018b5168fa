"""``visloc serve`` over real sockets: what it answers, and what it refuses."""

import shutil
import signal
import struct
import zlib
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from plugins.visloc_server.testing.server_process import WAIT_S, answers, free_port, running
from visloc_ros.apps.cli import app
from visloc_ros.core.errors import VislocError
from visloc_ros.core.map import open_map
from visloc_ros.core.result_mapping import pose_from_mapping
from visloc_ros.localization import AnchorEngine
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.ros_images import encode_jpeg, encode_png
from visloc_server.app import make_app
from visloc_server.config import ServerConfig
from visloc_server.uploads import read_upload

DEMO_MAP = Path(__file__).resolve().parents[3] / "maps" / "demo_room.tar.gz"
ROOM = simulate(SimulationConfig(duration_s=4.0, rate_hz=1.0), "localize")
INTRINSICS = dict(zip(("fx", "fy", "cx", "cy"), map(str, ROOM.camera.params[:4]), strict=True))
CAMERA = " ".join(map(str, [ROOM.camera.model.name, ROOM.camera.width, ROOM.camera.height, *ROOM.camera.params]))


@contextmanager
def serving(maps, *arguments):
    """A server as its own process, which must end in order; gives a client."""
    with running(maps, *arguments) as server:
        yield server.client


def asked_here(app):
    """A client of a server in this process, without sockets."""
    return TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1))


def post(client, data, **fields):
    return client.post("/localize", files={"image": ("image.jpg", data)}, data=fields)


@cache
def jpeg(index=0):
    return encode_jpeg(ROOM.frame(index).image, 95)


def test_an_image_is_found_exactly_as_by_the_engine(client, maps):
    engine = AnchorEngine(open_map(maps / "room"))
    for index in range(2):
        answer = post(client, jpeg(index), map="room", camera=CAMERA).json()
        assert answer["success"], answer
        pose = pose_from_mapping(answer["map_from_camera"])
        own = engine.localize(read_upload(jpeg(index), lambda *_: ROOM.camera))
        assert pose.is_close(own.map_from_camera, 1e-6, 1e-4)
        assert pose.is_close(ROOM.pose(index), 0.03, 0.5)
        assert (answer["metric"], answer["num_inliers"]) == (True, own.num_inliers)
        assert np.linalg.eigvalsh(np.array(answer["covariance"])).min() > 0.0
        assert set(answer["timings_ms"])


def test_each_map_is_there_and_a_broken_one_says_so_without_its_path(client, maps):
    found = {one["name"]: one for one in client.get("/reference/status").json()}
    assert {name: one["state"] for name, one in found.items()} == {
        "room": "ready",
        "hall.tar.gz": "ready",
        "broken": "failed",
    }
    assert found["room"]["images"] > 10
    assert str(maps) not in client.get("/reference/status").text
    assert post(client, jpeg(), map="hall.tar.gz", **INTRINSICS).json()["success"]
    broken = post(client, jpeg(), map="broken", **INTRINSICS)
    assert (broken.status_code, str(maps) in broken.text) == (500, False)


def test_a_camera_that_nobody_knows_and_a_prediction_are_taken(client):
    guessed = post(client, jpeg(1), map="room").json()
    assert guessed["success"] or guessed["reason"] in ("UNKNOWN_INTRINSICS", "INTRINSICS_MISMATCH")
    pose = ROOM.pose(1)
    prior = " ".join(map(str, [*pose.quaternion.tolist(), *pose.translation.tolist()]))
    assert post(client, jpeg(1), map="room", prior=prior, **INTRINSICS).json()["success"]


def test_answers_name_the_frame_and_what_is_in_another_one_is_not_used(client, maps):
    manifest = open_map(maps / "room").manifest
    answer = post(client, jpeg(1), map="room", **INTRINSICS).json()
    assert (answer["frame_uuid"], answer["model_id"]) == (manifest.frame_uuid, manifest.model_id)
    wrong = "1 0 0 0 50 50 50"
    here, elsewhere = ({"prior": wrong, "frame_uuid": uuid} for uuid in (manifest.frame_uuid, "another"))
    assert post(client, jpeg(1), map="room", **elsewhere, **INTRINSICS).json()["success"]  # the prior is left out
    assert post(client, jpeg(1), map="room", **here, **INTRINSICS).json()["success"]  # it is of this frame, and wrong
    position = {"position": "0 0", "position_sigma": "1", "frame_uuid": "another"}
    refused = post(client, jpeg(1), map="room", **position, **INTRINSICS)
    assert (refused.status_code, "in another frame" in refused.json()["detail"]) == (422, True)


def test_a_request_that_crashes_a_library_does_not_end_the_server(maps):
    with running(maps) as server:
        processes = psutil.Process(server.process.pid).children(recursive=True)
        [worker] = [one for one in processes if any(link.status == "LISTEN" for link in one.net_connections())]
        worker.send_signal(signal.SIGSEGV)
        psutil.wait_procs([worker], WAIT_S)
        with suppress(httpx.TransportError):  # a connection that was open
            server.client.get("/health")
        assert post(server.client, jpeg(), map="room", camera=CAMERA).json()["success"]


def test_what_is_not_found_says_why(client):
    grey = encode_png(np.full((ROOM.camera.height, ROOM.camera.width), 128, np.uint8))
    answer = post(client, grey, map="room", **INTRINSICS)
    assert answer.status_code == 200
    assert (answer.json()["success"], answer.json()["reason"]) == (False, "FEW_FEATURES")
    assert answer.json()["advice"]
    assert answer.json()["map_from_camera"] is None


def test_a_heic_is_searched_upright_with_its_own_focal_length(client):
    photo = Path(__file__).parents[3] / "test" / "data" / "phone_portrait.heic"
    answer = post(client, photo.read_bytes(), map="room")
    assert answer.status_code == 200
    camera = answer.json()["camera"]
    assert camera is None or (camera["width"], camera["height"]) == (192, 256)
    assert answer.json()["success"] or answer.json()["reason"]


def bomb():
    """A PNG of a few bytes that says it is 60000 pixels wide and high."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("data", "fields", "status", "words"),
    [
        (b"hello", {}, 422, "JPEG"),
        (b"", {}, 422, ""),
        (lambda: jpeg()[:3000], {}, 422, "truncated"),
        (bomb(), {}, 422, "pixels"),
        (jpeg, {"fx": "500"}, 422, "all of fx, fy, cx and cy"),
        (jpeg, {**INTRINSICS, "fx": "-1"}, 422, "positive"),
        (jpeg, {**INTRINSICS, "fx": "nan"}, 422, ""),
        (jpeg, {**INTRINSICS, "camera": CAMERA}, 422, "or camera"),
        (jpeg, {"camera": "NONE 640 480 1 2 3"}, 422, "no camera model"),
        (jpeg, {"camera": "PINHOLE 640 480 500"}, 422, "PINHOLE"),
        (jpeg, {"camera": "EQUIRECTANGULAR 640 480 640 480"}, 422, "EQUIRECTANGULAR has no focal length"),
        (jpeg, {"camera": "PINHOLE 320 240 500 500 160 120"}, 422, "640x480"),
        (jpeg, {"camera": "PINHOLE 640 480 1000 1000 640 480"}, 422, "1280x960"),
        (jpeg, {"camera": "PINHOLE 640"}, 422, "MODEL WIDTH HEIGHT"),
        (jpeg, {"camera": "PINHOLE 640 480 nan 500 320 240"}, 422, ""),
        (jpeg, {"prior": "1 0 0"}, 422, "prior"),
        (jpeg, {"prior": "1 0 0 0 nan 0 0"}, 422, "prior"),
        (jpeg, {"map": ""}, 404, "say which map"),
        (jpeg, {"map": "castle"}, 404, "no map 'castle'"),
        (jpeg, {"map": "../maps/room"}, 404, "no map"),
        (jpeg, {"map": "notes.txt"}, 404, "no map"),
    ],
)
def test_what_cannot_be_is_refused_in_words(client, maps, data, fields, status, words):
    answer = post(client, data() if callable(data) else data, **({"map": "room"} | fields))
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert not {"Traceback", str(maps), "/tmp/"} & set(answer.text.split())
    assert "visloc_upload" not in answer.text


def test_a_request_that_is_too_long_is_refused_whether_it_says_so_or_not(client):
    def endless():
        for _ in range(40):
            yield b"x" * (1 << 20)

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert client.post("/localize", content=b"x" * (33 << 20), headers=kind).status_code == 413
    with suppress(httpx.TransportError):  # where it closes the connection that is still being written to
        assert client.post("/localize", content=endless(), headers=kind).status_code in (400, 413)
    assert answers(client)


def test_a_page_from_elsewhere_cannot_use_another_name_of_this_computer(client):
    assert client.get("/reference/status", headers={"Host": "evil.example"}).status_code == 400


def test_its_interface_is_described(client):
    description = client.get("/openapi.json").json()
    assert set(description["paths"]) == {
        "/health",
        "/metrics",
        "/localize",
        "/reference/status",
        "/reference/maps/{name}",
        "/reference/maps/{name}/points",
        "/reference/maps/{name}/images",
        "/reference/maps/{name}/card",
        "/reference/maps/{name}/versions",
        "/reference/maps/{name}/rollback",
        "/reference/maps/{name}/files",
        "/reference/maps/{name}/files/{path}",
        "/reports",
        "/reports/page",
        "/reference/build",
        "/reference/update",
        "/reference/jobs",
        "/reference/jobs/{job_id}",
    }
    assert client.get("/docs").status_code == 404


def test_nobody_asks_without_the_token(guarded_client, token):
    assert guarded_client.get("/health").status_code == 200
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"}):
        assert guarded_client.get("/reference/status", headers=headers).status_code == 401
        assert post(guarded_client, jpeg()).status_code == 401
    right = guarded_client.get("/reference/status", headers={"Authorization": f"Bearer {token}"})
    assert right.status_code == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "0.0.0.0"), "--token-file"),
        (("--maps", "/nowhere"), "cannot list"),
        (("--token-file", "{short}"), "16 or more"),
    ],
)
def test_a_server_that_would_be_open_to_all_does_not_start(tmp_path, monkeypatch, arguments, words):
    monkeypatch.setattr("visloc_server.lasting.answer_requests", lambda *_: pytest.fail("it has started"))
    (tmp_path / "short").write_text("abc")
    given = [argument.format(short=tmp_path / "short") for argument in arguments]
    ended = CliRunner().invoke(app, ["serve", "--maps", str(tmp_path), *given])
    assert ended.exit_code == 1
    assert isinstance(ended.exception, VislocError)
    assert words in str(ended.exception)


def test_what_was_done_is_counted_for_prometheus(maps):
    with asked_here(make_app(ServerConfig(maps))) as client:
        assert post(client, jpeg(), map="room", **INTRINSICS).json()["success"]
        grey = encode_png(np.full((ROOM.camera.height, ROOM.camera.width), 128, np.uint8))
        for _ in range(2):
            assert not post(client, grey, map="room", **INTRINSICS).json()["success"]
        assert post(client, jpeg(), map="nowhere").status_code == 404
        lines = client.get("/metrics").text.splitlines()
        for line in (
            'visloc_searches_total{outcome="FOUND"} 1.0',
            'visloc_searches_total{outcome="FEW_FEATURES"} 2.0',
            'visloc_responses_total{status="404"} 1.0',
            "visloc_search_seconds_count 4.0",
            "visloc_resident_maps 1.0",
            "visloc_waiting 0.0",
        ):
            assert line in lines, lines


def test_prepared_maps_are_searched_as_is_asked_for(prepared_room, tmp_path, monkeypatch):
    path, search = prepared_room
    shutil.copy(path, tmp_path / "prepared.tar.gz")
    served = []
    monkeypatch.setattr("visloc_server.lasting.answer_requests", lambda _, config: served.append(config))
    options = ["--maps", str(tmp_path), "--search", search, "--port", str(free_port())]
    CliRunner().invoke(app, ["serve", *options], catch_exceptions=False)
    with asked_here(make_app(served[0])) as client:
        answer = post(client, encode_jpeg(ROOM.frame(1).image, 95), camera=CAMERA, inliers="true").json()
    assert answer["success"], answer
    assert len(answer["inlier_landmarks"]) == answer["num_inliers"]
    assert min(answer["inlier_landmarks"]) >= 1
