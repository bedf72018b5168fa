"""``WS /stream`` over real sockets: poses at frame rate, in order, and what is refused."""

import json
import time
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
import pytest
from starlette.websockets import WebSocketDisconnect
from test_serve import asked_here
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from plugins.visloc_server.testing.server_process import WAIT_S
from visloc_ros.core.result_mapping import pose_from_mapping
from visloc_ros.core.types import AnchorPose, MapIdentity, Reason, Rejection
from visloc_ros.pipeline.live_camera import PacedAnchors
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_server import stream_route
from visloc_server.app import make_app
from visloc_server.config import ServerConfig
from visloc_server.service import MOST_STREAMS

DRIVE = simulate(
    SimulationConfig(width=320, height=240, focal_px=240.0, duration_s=3.0, rate_hz=20.0, samples=1), "localize"
)
CAMERA = " ".join(map(str, [DRIVE.camera.model.name, DRIVE.camera.width, DRIVE.camera.height, *DRIVE.camera.params]))
STAMPS_NS = [DRIVE.stamp_ns(index) for index in range(len(DRIVE))]


@pytest.fixture(scope="module")
def jpegs():
    return [encode_jpeg(frame.image, 90) for frame in DRIVE]


@contextmanager
def streaming(client, *, headers=None, **request):
    url = str(client.base_url).replace("http", "ws").rstrip("/") + "/stream"
    with connect(url, additional_headers=headers, open_timeout=WAIT_S, max_size=None) as socket:
        socket.send(json.dumps(request))
        yield socket


def ask(socket, data, stamp_ns=None):
    if stamp_ns is not None:
        socket.send(json.dumps({"stamp_ns": stamp_ns}))
    socket.send(data)
    return json.loads(socket.recv(WAIT_S))


def test_each_image_has_a_pose_once_the_camera_is_found(client, jpegs):
    with streaming(client, map="room", camera=CAMERA) as socket:
        answers = [ask(socket, jpeg, stamp_ns) for jpeg, stamp_ns in zip(jpegs, STAMPS_NS, strict=True)]
        assert [one["frame"] for one in answers] == list(range(len(jpegs)))
        assert [one["stamp_ns"] for one in answers] == STAMPS_NS
        found = [index for index, one in enumerate(answers) if one["map_from_camera"] is not None]
        assert len(found) > 10
        assert found == list(range(found[0], len(jpegs)))
        for index in found:
            assert pose_from_mapping(answers[index]["map_from_camera"]).is_close(DRIVE.pose(index), 0.05, 1.0)
            assert np.linalg.eigvalsh(np.array(answers[index]["covariance"])).min() > 0.0
        assert answers[-1]["state"] == "LOCALIZED"
        assert answers[0]["map_from_camera"] is None
        assert answers[0]["reason"]


def test_what_does_not_fit_beside_the_maps_of_streams_is_refused_until_they_end(maps, jpegs):
    with asked_here(make_app(ServerConfig(maps, memory_bytes=1))) as client:

        def search():
            return client.post("/localize", files={"image": ("image.jpg", jpegs[0])}, data={"map": "hall.tar.gz"})

        with client.websocket_connect("ws://localhost/stream") as socket:
            socket.send_text(json.dumps({"map": "room", "camera": CAMERA}))
            socket.send_bytes(jpegs[0])
            assert json.loads(socket.receive_text())["frame"] == 0
            refused = search()
            assert (refused.status_code, "still use maps" in refused.text) == (503, True), refused.text
            with client.websocket_connect("ws://localhost/stream") as other:
                other.send_text(json.dumps({"map": "hall.tar.gz"}))
                assert "still use maps" in json.loads(other.receive_text())["detail"]
        deadline = time.monotonic() + WAIT_S
        while (answer := search()).status_code == 503:  # the first stream ends in a thread of its own
            assert time.monotonic() < deadline, answer.text
        assert answer.status_code == 200


def test_a_camera_that_nobody_calibrated_is_estimated_first_and_tracked_then(client, jpegs):
    with streaming(client, map="room") as socket:
        answers = [ask(socket, jpeg, stamp_ns) for jpeg, stamp_ns in zip(jpegs, STAMPS_NS, strict=True)]
        small = encode_jpeg(DRIVE.frame(0).image[::2, ::2], 90)
        assert "images of one camera keep their size" in ask(socket, small, STAMPS_NS[-1] + 1)["detail"]
    estimated = [one for one in answers if "calibration" in one]
    assert {one["state"] for one in estimated} <= {"UNINITIALIZED", "INITIALIZING"}
    assert estimated[-1]["calibration"]["focal_length_px"] == pytest.approx(DRIVE.camera.focal_length_x, rel=0.02)
    tracked = answers[len(estimated) :]
    assert "calibration" not in tracked[0]
    assert tracked[-1]["state"] == "LOCALIZED"
    assert pose_from_mapping(answers[-1]["map_from_camera"]).is_close(DRIVE.pose(len(DRIVE) - 1), 0.05, 1.0)


def test_of_images_that_come_too_fast_the_newest_is_taken_and_order_is_kept(client, jpegs):
    with streaming(client, map="room", camera=CAMERA) as socket:
        for jpeg in jpegs:
            socket.send(jpeg)
        answers = []
        while not answers or answers[-1]["frame"] < len(jpegs) - 1:
            answers.append(json.loads(socket.recv(WAIT_S)))
    frames = [one["frame"] for one in answers]
    assert frames == sorted(set(frames))
    assert len(frames) + answers[-1]["dropped"] == len(jpegs)


def test_what_is_no_image_or_too_late_is_reported_and_the_stream_goes_on(client, jpegs):
    with streaming(client, map="room", camera=CAMERA) as socket:
        assert ask(socket, jpegs[1], 2_000)["reason"] != "BAD_MESSAGE"
        small = encode_jpeg(DRIVE.frame(0).image[::2, ::2], 90)
        for data, stamp_ns in ((b"hello", 3_000), (jpegs[1][:200], 4_000), (small, 5_000), (jpegs[0], 1_500)):
            answer = ask(socket, data, stamp_ns)
            assert (answer["reason"], answer["map_from_camera"]) == ("BAD_MESSAGE", None)
            assert answer["detail"]
        assert ask(socket, jpegs[2], 60_000_000)["state"] is not None


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"map": "room", "camera": 5}, "valid string"),
        ({"map": "room", "camera": "PINHOLE"}, "COLMAP"),
        ({"map": "room", "camera": "NONSENSE 1 2 3"}, "camera"),
        ({"map": "nowhere", "camera": CAMERA}, "no map 'nowhere'"),
        ({"map": "../room", "camera": CAMERA}, "no map '../room'"),
        ({"camera": CAMERA}, "say which map"),
        ({"map": "room", "camera": CAMERA, "speed": 3}, "Extra inputs"),
    ],
)
def test_a_request_that_cannot_be_is_refused_in_words(client, request_, words):
    with streaming(client, **request_) as socket:
        assert words in json.loads(socket.recv(WAIT_S))["detail"]
        with pytest.raises(ConnectionClosed):
            socket.recv(WAIT_S)


@pytest.mark.parametrize("first", [b"an image", "hello", None])
def test_a_stream_without_its_first_message_ends_with_a_sentence(maps, monkeypatch, first):
    monkeypatch.setattr(stream_route, "SILENCE_S", 0.2)
    with (
        asked_here(make_app(ServerConfig(maps))) as client,
        client.websocket_connect("ws://localhost/stream") as socket,
    ):
        if first is not None:
            socket.send({"type": "websocket.receive", "bytes" if isinstance(first, bytes) else "text": first})
        assert 'begin with a text message like {"map"' in socket.receive_json()["detail"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert "begin with a text message" in closed.value.reason


def open_another(running, client):
    """One more stream, once the server has closed those of earlier tests."""
    deadline = time.monotonic() + WAIT_S
    while True:
        socket = running.enter_context(streaming(client, map="room", camera=CAMERA))
        with suppress(ConnectionClosed):
            if ask(socket, b"hello").get("reason") == "BAD_MESSAGE":
                return
        assert time.monotonic() < deadline


def test_no_more_streams_run_than_the_computer_bears(client):
    with ExitStack() as running:
        for _ in range(MOST_STREAMS):
            open_another(running, client)
        with streaming(client, map="room", camera=CAMERA) as socket:
            assert "streams run already" in json.loads(socket.recv(WAIT_S))["detail"]
    deadline = time.monotonic() + WAIT_S  # in which the server has closed the others
    while True:
        with streaming(client, map="room", camera=CAMERA) as socket:
            socket.send(b"hello")
            if "state" in json.loads(socket.recv(WAIT_S)):
                break
        assert time.monotonic() < deadline


def test_a_page_of_another_site_is_refused(client):
    with pytest.raises(InvalidStatus) as refused, streaming(client, headers={"Origin": "http://evil.example"}):
        pass
    assert refused.value.response.status_code == 403


def test_a_stream_needs_the_token_where_the_server_has_one(guarded_client, token):
    for wrong in ("", "wrong"):
        with streaming(guarded_client, map="room", camera=CAMERA, token=wrong) as socket:
            assert "token" in json.loads(socket.recv(WAIT_S))["detail"]
    for right in ({"token": token}, {"headers": {"Authorization": f"Bearer {token}"}}):
        with streaming(guarded_client, map="nowhere", camera=CAMERA, **right) as socket:
            assert "no map 'nowhere'" in json.loads(socket.recv(WAIT_S))["detail"]


def test_a_search_begins_twice_a_second_once_one_has_found_the_camera_and_again_where_stamps_run_back():
    class Engine:
        map_identity = MapIdentity("room", True, True)
        result = Rejection(0, Reason.FEW_FEATURES)

        def localize(self, frame, prior=None):
            return self.result

    engine = Engine()
    anchors = PacedAnchors(engine)

    def searched():
        anchors.submit(DRIVE.frame(0), None)
        deadline = time.monotonic() + WAIT_S
        while not anchors.finished(0):
            assert time.monotonic() < deadline

    searched()
    assert anchors.is_idle(0)
    second = 1_000_000_000
    engine.result = AnchorPose(second, DRIVE.pose(0), np.eye(6), 10, 10, 1.0)
    searched()
    assert [anchors.is_idle(second + part * second // 10) for part in (0, 4, 5)] == [False, False, True]
    assert anchors.is_idle(second // 2)
    anchors.close()
