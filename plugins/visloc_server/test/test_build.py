"""Maps built over HTTP from uploaded videos: to a usable map, given up, over a server's end, and what is refused."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
from mapped_room import write_video
from test_serve import asked_here, post
from websockets.sync.client import connect

from plugins.visloc_server.testing.server_process import WAIT_S, answers, free_port, running
from visloc_ros.core.map import open_map
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_server import build_jobs, build_route
from visloc_server.app import make_app
from visloc_server.build_jobs import FOLDER, MOST_STARTS, BuildJobs
from visloc_server.config import ServerConfig
from visloc_server.job import JobState, TakenNameError

ENDED = ("done", "failed", "cancelled")
NUM_IMAGES = 6
SMALL = SimulationConfig(width=320, height=240, focal_px=240.0, duration_s=3.0, rate_hz=2.0, noise_std=1.0)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    write_video(path, SMALL)
    return path.read_bytes()


def upload(client, data, name="office", file="walk.mp4", **options):
    return client.post("/reference/build", params={"name": name, "file": file}, content=data, **options)


def wait_for(client, job_id, states=ENDED):
    deadline = time.monotonic() + WAIT_S
    while (job := client.get(f"/reference/jobs/{job_id}").json())["state"] not in states:
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    return job


def uploads_in(maps):
    return [path for path in (maps / FOLDER).glob("*") if path.is_dir()]


@pytest.fixture(scope="module")
def maps_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("maps")


@pytest.fixture(scope="module")
def client(maps_folder):
    with running(maps_folder) as server:
        yield server.client


def test_a_job_that_is_cancelled_while_it_ends_leaves_no_map(tmp_path, monkeypatch):
    """The build is done, and its map there, when the cancellation comes."""
    cancelled = []

    class Build:
        def __init__(self, *work, **_):
            self.plan = work[-1]

        def result(self):
            self.plan.output.mkdir()
            cancelled.append(jobs.cancel(job.id))
            return "40 images"

        def end(self):
            pass

    monkeypatch.setattr(build_jobs, "ChildProcess", Build)
    jobs = BuildJobs(tmp_path)
    upload = jobs.new_upload(jobs.check("office", "walk.mp4"))
    upload.write_bytes(b"video")
    with jobs._changed:  # the build waits until its job has a name here
        job = jobs.add(upload, "office")
    deadline = time.monotonic() + WAIT_S
    while not cancelled or uploads_in(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    jobs.close()
    assert cancelled[0].state is JobState.CANCELLED
    assert jobs.get(job.id).state is JobState.CANCELLED
    assert not (tmp_path / "office").exists()


def test_a_video_becomes_a_map_also_after_a_broken_one_and_some_that_were_given_up(client, maps_folder, video):
    broken = wait_for(client, upload(client, video[:5000], "broken").json()["id"])
    assert (broken["state"], str(maps_folder) in broken["message"]) == ("failed", False)
    assert broken["message"]
    first, second = (upload(client, video, name).json()["id"] for name in ("studio", "second"))
    assert client.delete(f"/reference/jobs/{second}").json()["state"] == "cancelled"
    wait_for(client, first, ("building",))
    states = {one["name"]: one["state"] for one in client.get("/reference/status").json()}
    assert states == {"studio": "building"}
    assert client.delete(f"/reference/jobs/{first}").json()["state"] == "cancelled"
    assert client.delete("/reference/jobs/nothing").status_code == 404

    begun = client.post("/reference/build", data={"name": "studio"}, files={"file": ("walk.mp4", video)})
    assert begun.status_code == 202
    job = begun.json()
    assert upload(client, video, "studio").status_code == 409  # of the same name
    url = str(client.base_url).replace("http", "ws").rstrip("/")
    with connect(f"{url}/reference/jobs/{job['id']}/progress") as socket:
        updates = [json.loads(text) for text in socket]
    assert updates[-1]["state"] == "done", updates[-1]
    stages = list(dict.fromkeys(one["stage"] for one in updates if one["stage"]))
    assert len(stages) > 2
    assert all(0 <= one["steps"] <= one["total"] for one in updates)
    assert wait_for(client, first)["state"] == "cancelled"
    known = client.get("/reference/jobs").json()
    assert known[0] == updates[-1]
    assert [one["id"] for one in known] == [job["id"], second, first, broken["id"]]
    (status,) = client.get("/reference/status").json()
    assert (status["name"], status["state"], status["images"]) == ("studio", "ready", NUM_IMAGES)
    image = encode_jpeg(simulate(SMALL, "map").frame(3).image, 95)
    assert post(client, image, map="studio").json()["success"]
    assert upload(client, video, "studio").status_code == 409  # there is a map now
    deadline = time.monotonic() + WAIT_S
    while uploads_in(maps_folder):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def started(maps):
    port = free_port()
    command = [sys.executable, "-m", "visloc_ros.apps.cli", "serve", "--maps", str(maps), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S, trust_env=False)
    deadline = time.monotonic() + WAIT_S
    while not answers(client):
        assert time.monotonic() < deadline, "no server"
        time.sleep(0.05)
    return process, client


def test_a_build_goes_on_after_the_end_of_the_server(tmp_path, video):
    """One that ends in order, which is no start of its own, and one whose processes are all killed."""
    with asked_here(make_app(ServerConfig(tmp_path))) as client:
        job_id = upload(client, video).json()["id"]
        wait_for(client, job_id, ("building",))
    process, client = started(tmp_path)
    try:
        wait_for(client, job_id, ("building",))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT_S)
        client.close()
    app = make_app(ServerConfig(tmp_path))
    with asked_here(app) as client:
        assert wait_for(client, job_id)["state"] == "done"
        assert app.state.service.jobs.get(job_id).starts == 2  # after the one that was killed
    assert len(open_map(tmp_path / "office").images) == NUM_IMAGES
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("office", FOLDER)] == []


def test_a_build_that_ends_the_server_again_and_again_is_given_up(tmp_path, video):
    jobs = BuildJobs(tmp_path)
    waiting = jobs.new_upload(jobs.check("office", "walk.mp4"))
    waiting.write_bytes(video)
    jobs.close()  # nothing is built here
    job_id = jobs.add(waiting, "office").id
    jobs._set(job_id, starts=MOST_STARTS)
    with asked_here(make_app(ServerConfig(tmp_path))) as client:
        job = wait_for(client, job_id)
        assert (job["state"], "ended 2 times" in job["message"]) == ("failed", True)
        assert uploads_in(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"name": "../office"}, 422, "a map's name"),
        ({"name": ""}, 422, "a map's name"),
        ({"name": ".hidden"}, 422, "a map's name"),
        ({"name": "x" * 100}, 422, "a map's name"),
        ({"file": "walk.exe"}, 422, "no kind of video"),
        ({"file": "../../walk"}, 422, "no kind of video"),
        ({"headers": {"Origin": "http://evil.example"}}, 403, "another site"),
    ],
)
def test_what_cannot_be_built_is_refused_and_nothing_is_kept(client, maps_folder, video, options, status, words):
    refused = upload(client, b"x", **options)
    assert (refused.status_code, words in refused.text) == (status, True), refused.text
    assert upload(client, b"").status_code == 422
    form = client.post("/reference/build", data={"name": "office"}, files={"other": ("", b"x")})
    assert (form.status_code, "the form has no video" in form.text) == (422, True)
    for name, file in (("../office", "walk.mp4"), ("office", "walk.exe")):
        form = client.post("/reference/build", data={"name": name}, files={"file": (file, video)})
        assert form.status_code == 422
    assert not (maps_folder / FOLDER).exists() or uploads_in(maps_folder) == []


def test_an_upload_that_breaks_off_leaves_nothing(client, maps_folder, video):
    host, port = client.base_url.host, client.base_url.port
    with socket.create_connection((host, port)) as raw:
        head = (
            f"POST /reference/build?name=half HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(video)}\r\n\r\n"
        )
        raw.sendall(head.encode() + video[: len(video) // 2])
        deadline = time.monotonic() + WAIT_S
        while not uploads_in(maps_folder):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    while uploads_in(maps_folder):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "half" not in {job["name"] for job in client.get("/reference/jobs").json()}


def test_a_server_that_may_not_write_says_so_and_searches_all_the_same(tmp_path, video):
    (tmp_path / FOLDER).write_text("")
    with asked_here(make_app(ServerConfig(tmp_path))) as client:
        refused = upload(client, video)
        assert (refused.status_code, "cannot write" in refused.text) == (507, True)
        assert client.get("/reference/jobs").json() == []
        assert client.get("/reference/status").json() == []


def test_a_disk_that_fills_up_on_the_way_is_reported(tmp_path, video, monkeypatch):
    async def write(request, upload):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(build_route, "_write", write)
    with asked_here(make_app(ServerConfig(tmp_path))) as client:
        refused = upload(client, video)
        assert (refused.status_code, "disk is full" in refused.text) == (507, True)
        assert uploads_in(tmp_path) == []


def test_of_two_uploads_under_one_name_the_first_that_is_whole_becomes_the_map(tmp_path):
    jobs = BuildJobs(tmp_path)
    first, second = (jobs.new_upload(jobs.check("office", "walk.mp4")) for _ in range(2))
    jobs.close()  # nothing is built here
    job = jobs.add(first, "office")
    with pytest.raises(TakenNameError, match="office"):
        jobs.add(second, "office")
    assert jobs.list() == [job]
