"""Searches that wait together in one map are looked at in one batch, and answered as if each were alone."""

import asyncio
import logging
import shutil
import threading
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from visloc_ros.core.result_mapping import pose_from_mapping
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.ros_images import encode_jpeg, encode_png
from visloc_server import device_queue
from visloc_server.app import make_app
from visloc_server.config import ServerConfig
from visloc_server.device_queue import Search, SearchBatches, SearchRequest

DEMO_MAP = Path(__file__).resolve().parents[3] / "maps" / "demo_room.tar.gz"
ROOM = simulate(SimulationConfig(duration_s=4.0, rate_hz=1.0), "localize")
CAMERA = " ".join(map(str, [ROOM.camera.model.name, ROOM.camera.width, ROOM.camera.height, *ROOM.camera.params]))
ROUNDING = 1e-3, 0.02  # m and degrees: features of a batch are rounded otherwise
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    for name in ("room", "hall"):
        shutil.copy(DEMO_MAP, folder / f"{name}.tar.gz")
    return folder


@pytest.fixture(scope="module")
def served(maps):
    """An application with both maps in memory."""
    app = make_app(ServerConfig(maps))
    for name in ("room", "hall"):
        app.state.service.maps.engine(f"{name}.tar.gz")
    yield app
    app.state.service.close()


@pytest.fixture
def app(served, monkeypatch):
    """It, with an extractor that takes four images at once."""
    monkeypatch.setattr(extractor_of(served), "batch_size", 4)
    return served


@pytest.fixture
def batches(app, monkeypatch):
    """How many images the extractor was given each time."""
    sizes, extractor = [], extractor_of(app)
    extract_many = extractor.extract_many
    monkeypatch.setattr(extractor, "extract_many", lambda images: sizes.append(len(images)) or extract_many(images))
    return sizes


def extractor_of(app):
    return app.state.service.maps.engine("room.tar.gz").extractor


@cache
def jpeg(index):
    return encode_jpeg(ROOM.frame(index).image, 95)


def ask(app, *requests):
    """Answers to images and names of maps that came in this order while the thread was at other work."""

    async def run():
        queue, go_on = app.state.service.queue, threading.Event()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            tasks = [asyncio.create_task(queue.do(lambda: go_on.wait(TIMEOUT_S)))]
            for data, name in requests:
                fields = {"map": f"{name}.tar.gz", "camera": CAMERA}
                files = {"image": ("image.jpg", data)}
                tasks.append(asyncio.create_task(client.post("/localize", files=files, data=fields)))
                while queue.waiting < len(tasks):
                    await asyncio.sleep(0.001)
            go_on.set()
            _, *answers = await asyncio.gather(*tasks)
            while queue.waiting:
                await asyncio.sleep(0.001)
            return answers

    return asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


def assert_same(answer, expected):
    answer, expected = answer.json(), expected.json()
    assert answer["success"]
    assert expected["success"]
    poses = [pose_from_mapping(one["map_from_camera"]) for one in (answer, expected)]
    assert poses[0].is_close(poses[1], *ROUNDING)
    assert set(answer["timings_ms"]) == set(expected["timings_ms"])


def count_of(app, line):
    text = app.state.service.metrics.text().decode()
    return sum(float(one.split()[-1]) for one in text.splitlines() if one.startswith(line))


def test_images_that_wait_together_are_one_batch_and_found_as_alone(app, batches):
    alone = [ask(app, (jpeg(index), "room"))[0] for index in range(2)]
    assert batches == [1, 1]
    searched = count_of(app, "visloc_searches_total")
    together = ask(app, *((jpeg(index % 2), "room") for index in range(5)))
    assert batches == [1, 1, 4, 1]
    for index, answer in enumerate(together):
        assert_same(answer, alone[index % 2])
    assert count_of(app, "visloc_searches_total") == searched + 5


def test_a_broken_image_spoils_no_other(app, batches):
    good, broken = (jpeg(0), "room"), (jpeg(0)[:3000], "room")
    answers = ask(app, good, broken, good, good, broken)
    assert [answer.status_code for answer in answers] == [200, 422, 200, 200, 422]
    assert batches == [3]
    assert "truncated" in answers[1].text
    assert ask(app, broken, good, good)[0].status_code == 422
    assert batches == [3, 2]


def test_two_maps_are_two_batches_and_an_unknown_one_is_none(app, batches):
    names = ["room", "hall", "castle", "room", "hall", "room"]
    answers = ask(app, *((jpeg(index % 2), name) for index, name in enumerate(names)))
    assert batches == [3, 2]
    for name, answer in zip(names, answers, strict=True):
        assert answer.status_code == (404 if name == "castle" else 200)
        if name != "castle":
            assert answer.json()["map"] == f"{name}.tar.gz"


class Engine:
    """Notes which images are looked at together; each is of one grey."""

    def __init__(self, batch_size=8):
        self.extractor = SimpleNamespace(batch_size=batch_size)
        self.looked_at = []

    def extract(self, frame):
        return self.extract_many([frame])[0]

    def extract_many(self, frames):
        self.looked_at.append([int(frame.image.flat[0]) for frame in frames])
        return [f"query {grey}" for grey in self.looked_at[-1]]


def search_of(grey, name=""):
    return Search(encode_png(np.full((8, 8), grey, np.uint8)), SearchRequest(name))


def test_who_does_not_wait_any_more_is_not_looked_at():
    batches, engine = SearchBatches(), Engine()
    first, gone, other = search_of(1), search_of(2), search_of(3)
    with batches.waiting(first), batches.waiting(other):
        with batches.waiting(gone):
            pass
        assert batches.extract(first, engine) == "query 1"
        assert batches.extract(other, engine) == "query 3"
    assert engine.looked_at == [[1, 3]]


def test_who_is_looked_at_has_had_a_turn_and_is_not_taken_again():
    batches, engine = SearchBatches(), Engine(batch_size=3)
    searches = [search_of(grey) for grey in range(4)]
    with batches.waiting(searches[0]), batches.waiting(searches[1]), batches.waiting(searches[2]):
        batches.extract(searches[0], engine)
        with batches.waiting(searches[3]):
            assert batches.extract(searches[3], engine) == "query 3"
    assert engine.looked_at == [[0, 1, 2], [3]]


def test_an_extractor_without_batches_gets_one_image_at_a_time():
    batches, engine = SearchBatches(), Engine(batch_size=1)
    searches = [search_of(grey) for grey in range(2)]
    with batches.waiting(searches[0]), batches.waiting(searches[1]):
        assert [batches.extract(one, engine) for one in searches] == ["query 0", "query 1"]
    assert engine.looked_at == [[0], [1]]


def test_large_images_are_not_held_in_memory_together(monkeypatch):
    monkeypatch.setattr(device_queue, "MOST_PIXELS", 100)
    batches, engine = SearchBatches(), Engine()
    searches = [search_of(grey) for grey in range(3)]  # of 64 pixels each
    with batches.waiting(searches[1]), batches.waiting(searches[2]):
        batches.extract(searches[0], engine)
    assert engine.looked_at == [[0, 1]]


def test_what_could_not_be_looked_at_together_is_looked_at_alone(caplog):
    class Failing(Engine):
        def extract_many(self, frames):
            if len(frames) > 1:
                raise MemoryError
            return super().extract_many(frames)

    batches, engine = SearchBatches(), Failing()
    first, second = search_of(1), search_of(2)
    with caplog.at_level(logging.ERROR), batches.waiting(second):
        assert [batches.extract(one, engine) for one in (first, second)] == ["query 1", "query 2"]
    assert engine.looked_at == [[1], [2]]
    assert "2 images" in caplog.text
