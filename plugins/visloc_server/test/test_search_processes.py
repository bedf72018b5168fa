"""Searches that wait for other work are done in processes of their own, and nothing is lost where one dies."""

import asyncio
import os
import shutil
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from visloc_ros.core.child_process import CrashError
from visloc_ros.core.result_mapping import pose_from_mapping
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_server import search_processes
from visloc_server.app import make_app
from visloc_server.config import ServerConfig, searches_at_once
from visloc_server.device_queue import Search, SearchRequest, Turn
from visloc_server.uploads import camera_in_words

DEMO_MAP = Path(__file__).resolve().parents[3] / "maps" / "demo_room.tar.gz"
ROOM = simulate(SimulationConfig(duration_s=4.0, rate_hz=1.0), "localize")
CAMERA = " ".join(map(str, [ROOM.camera.model.name, ROOM.camera.width, ROOM.camera.height, *ROOM.camera.params]))
JPEG = encode_jpeg(ROOM.frame(0).image, 95)
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The service of an application with one process beside its own."""
    folder = tmp_path_factory.mktemp("maps")
    shutil.copy(DEMO_MAP, folder / "room.tar.gz")
    app = make_app(ServerConfig(folder, processes=1))
    app.state.service.app = app
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_processes, "_has_memory", lambda: True)  # it goes by what this process, of tests, holds
        yield app.state.service
    app.state.service.close()


@pytest.fixture
def process(service):
    """The process, which is started where a search has to wait."""
    if not service.processes.pids:
        ask(service, JPEG)
    (pid,) = service.processes.pids
    return pid


@contextmanager
def busy(service):
    """The thread of the queue does other work as long as the block."""
    go_on = threading.Event()
    work = threading.Thread(target=service.queue.wait_for, args=(lambda: go_on.wait(TIMEOUT_S),))
    work.start()
    try:
        yield
    finally:
        go_on.set()
        work.join()


def ask(service, *images):
    """Answers to images that wait, since the thread of the queue is busy."""

    async def run():
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=TIMEOUT_S) as client:
            fields = {"map": "room.tar.gz", "camera": CAMERA}
            waiting = asyncio.create_task(service.queue.do(lambda: None))
            answers = await asyncio.gather(
                *(client.post("/localize", files={"image": ("image.jpg", one)}, data=fields) for one in images)
            )
            waiting.cancel()
            return answers

    with busy(service):
        return asyncio.run(asyncio.wait_for(run(), 2 * TIMEOUT_S))


def test_a_search_that_waits_is_answered_by_another_process_as_by_this_one(service, process):
    answers = ask(service, JPEG, b"no image", JPEG)
    assert [answer.status_code for answer in answers] == [200, 422, 200]
    here = service.maps.engine("room.tar.gz").localize(ROOM.frame(0))
    for answer in answers[::2]:
        pose = pose_from_mapping(answer.json()["map_from_camera"])
        assert pose.is_close(here.map_from_camera, 0.01, 0.1)  # the image was compressed
    assert service.processes.pids == [process]


def test_more_may_wait_where_more_are_searched_at_once(service, process):
    with_processes = service.queue.most_waiting
    assert make_app(ServerConfig(service.maps.folder)).state.service.queue.most_waiting < with_processes


def test_the_search_of_a_killed_process_is_repeated(service, process, caplog):
    os.kill(process, signal.SIGKILL)
    (answer,) = ask(service, JPEG)
    assert answer.json()["success"]
    assert "repeated" in caplog.text
    assert service.processes.pids != [process]


def test_a_map_that_was_deleted_is_not_searched_any_more(service, process):
    shutil.copy(DEMO_MAP, service.maps.folder / "hall.tar.gz")
    search = SearchRequest("hall.tar.gz", camera_in_words(CAMERA))
    answers = []
    for deletes in (False, True):
        if deletes:
            service.delete_map("hall.tar.gz")
        turn = Turn(lambda: None)
        service.processes.offer(Search(JPEG, search), turn)
        answers.append(turn.future.exception(2 * TIMEOUT_S))
    assert answers[0] is None
    assert "there is no map 'hall.tar.gz'" in str(answers[1])


def test_an_image_that_ends_every_process_is_refused_and_the_server_goes_on(service, process):
    search, turn = Search(JPEG, SearchRequest("room.tar.gz", end_process)), Turn(lambda: None)
    service.processes.offer(search, turn)
    with pytest.raises(CrashError):
        turn.future.result(TIMEOUT_S)
    request = SearchRequest("room.tar.gz", camera_in_words(CAMERA))
    assert asyncio.run(service.localize(JPEG, request)).success


def end_process(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_few_processors_search_one_image_at_once_and_many_eight_at_most():
    assert [searches_at_once(count) for count in (1, 2, 3, 4, 8, 16, 64)] == [1, 1, 1, 2, 4, 8, 8]


def test_one_client_needs_no_other_process(tmp_path):
    shutil.copy(DEMO_MAP, tmp_path / "room.tar.gz")
    service = make_app(ServerConfig(tmp_path, processes=1)).state.service

    async def run():
        request = SearchRequest("", camera_in_words(CAMERA))
        return [await service.localize(JPEG, request) for _ in range(2)]

    assert all(answer.success for answer in asyncio.run(run()))
    assert service.processes.pids == []
    service.close()
