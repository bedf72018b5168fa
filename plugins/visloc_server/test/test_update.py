"""Maps updated over HTTP: what is refused changes nothing, and older lists of jobs are read."""

import shutil
import sqlite3
import time

import pytest
from mapped_room import SIMULATION, write_video
from room_versions import write_second_version
from test_serve import asked_here, post

from plugins.visloc_server.testing.server_process import WAIT_S
from visloc_ros.core.errors import SourceError
from visloc_ros.core.map_lock import changing
from visloc_ros.simulation import simulate
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_server.app import make_app
from visloc_server.build_jobs import DATABASE, FOLDER, BuildJobs
from visloc_server.client import LocalizationClient, ServerError
from visloc_server.config import ServerConfig
from visloc_server.job import JobKind


@pytest.fixture
def maps_folder(maps, tmp_path):
    """The maps that all servers share, to be changed."""
    shutil.copytree(maps, tmp_path, dirs_exist_ok=True)
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ended(client, begun):
    """The job of a request when it has ended."""
    assert (begun.status_code, begun.json()["kind"]) == (202, "update"), begun.text
    deadline = time.monotonic() + WAIT_S
    while (job := client.get(f"/reference/jobs/{begun.json()['id']}").json())["state"] in ("queued", "building"):
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return job


def in_memory(client):
    return {one["name"]: (one["state"], one["in_memory"]) for one in client.get("/reference/status").json()}


def test_a_map_learns_from_an_upload_and_goes_back_and_searches_are_in_the_version_of_the_moment(maps, tmp_path):
    shutil.copytree(maps / "room", tmp_path / "maps" / "room")
    write_video(tmp_path / "walk.mp4")
    image = encode_jpeg(simulate(SIMULATION, "map").frame(3).image, 95)
    with asked_here(make_app(ServerConfig(tmp_path / "maps"))) as client:
        params = {"name": "room", "file": "monday.mp4"}
        begun = client.post("/reference/update", params=params, content=(tmp_path / "walk.mp4").read_bytes())
        assert in_memory(client) == {"room": ("ready", False)}
        for refused in (client.post("/reference/maps/room/rollback"), client.delete("/reference/maps/room")):
            assert (refused.status_code, "being built or updated" in refused.text) == (409, True), refused.text
        job = ended(client, begun)
        assert (job["state"], "taught the map" in job["message"]) == ("done", True), job["message"]
        versions = client.get("/reference/maps/room/versions").json()
        assert [(one["version"], one["present"]) for one in versions] == [(1, False), (2, True)]
        assert (versions[0]["session"], versions[1]["session"]["name"]) == (None, "monday")
        assert post(client, image, map="room").json()["success"]
        assert in_memory(client) == {"room": ("ready", True)}

        foreign = {"Origin": "http://evil.example"}
        assert client.post("/reference/maps/room/rollback", headers=foreign).status_code == 403
        assert client.post("/reference/maps/room/rollback", params={"version": 7}).status_code == 422
        assert client.post("/reference/maps/room/rollback").json()["version"] == 1
        assert in_memory(client) == {"room": ("ready", False)}  # the other version was
        assert post(client, image, map="room").json()["success"]


def test_a_recording_that_teaches_nothing_leaves_the_map(maps_folder):
    before = contents(maps_folder / "room")
    with asked_here(make_app(ServerConfig(maps_folder))) as client:
        files = {"file": ("monday.mp4", b"no video")}
        job = ended(client, client.post("/reference/update", data={"name": "room"}, files=files))
        assert (job["state"], "monday.mp4" in job["message"]) == ("failed", True), job
        assert str(maps_folder) not in job["message"]
        assert len(client.get("/reference/maps/room/versions").json()) == 1
    assert contents(maps_folder / "room") == before


def test_a_map_that_another_program_changes_is_neither_deleted_nor_rolled_back(maps_folder):
    write_second_version(maps_folder / "room")
    before = contents(maps_folder / "room")
    with asked_here(make_app(ServerConfig(maps_folder))) as client:
        with changing(maps_folder / "room"):
            for refused in (client.delete("/reference/maps/room"), client.post("/reference/maps/room/rollback")):
                assert (refused.status_code, "another process is changing" in refused.text) == (409, True), refused.text
                assert str(maps_folder) not in refused.text
            files = {"file": ("monday.mp4", b"no video")}
            job = ended(client, client.post("/reference/update", data={"name": "room"}, files=files))
            assert (job["state"], "another process is changing" in job["message"]) == ("failed", True), job
        assert contents(maps_folder / "room") == before
        assert client.post("/reference/maps/room/rollback").json()["version"] == 1
        assert client.delete("/reference/maps/room").status_code == 204
    assert not (maps_folder / "room").exists()


@pytest.mark.parametrize(
    ("name", "file", "status", "words"),
    [
        ("castle", "monday.mp4", 404, "no map"),
        ("../room", "monday.mp4", 404, "no map"),
        ("hall.tar.gz", "monday.mp4", 422, "unpack"),
        ("broken", "monday.mp4", 500, "cannot be used"),
        ("room", "monday.exe", 422, "no kind of video"),
    ],
)
def test_what_cannot_be_updated_is_refused(client, maps, name, file, status, words):
    refused = client.post("/reference/update", params={"name": name, "file": file}, content=b"x")
    assert (refused.status_code, words in refused.text) == (status, True), refused.text
    assert not (maps / FOLDER).exists() or not [path for path in (maps / FOLDER).iterdir() if path.is_dir()]


def test_updates_and_rollbacks_need_the_token(guarded_client):
    for path in ("/reference/update?name=room", "/reference/maps/room/rollback"):
        assert guarded_client.post(path, content=b"x").status_code == 401
    assert guarded_client.get("/reference/maps/room/versions").status_code == 401


def test_the_client_asks_for_versions_and_says_why_there_is_no_earlier_one(client, maps):
    with LocalizationClient(str(client.base_url)) as asking:
        assert [(one.version, one.present) for one in asking.versions("room")] == [(1, True)]
        with pytest.raises(ServerError, match="no earlier one"):
            asking.roll_back("room")
        with pytest.raises(ServerError, match="no kind of video"):
            asking.update("room", maps / "notes.txt")
        with pytest.raises(SourceError, match=r"monday\.mp4"):
            asking.update("room", maps / "monday.mp4")


def test_the_jobs_of_a_server_before_updates_are_builds(tmp_path):
    (tmp_path / FOLDER).mkdir()
    with sqlite3.connect(tmp_path / FOLDER / DATABASE) as database:
        database.execute(
            "CREATE TABLE jobs (id TEXT PRIMARY KEY, name TEXT, state TEXT, stage TEXT, steps INTEGER, "
            "total INTEGER, message TEXT, created_s REAL, starts INTEGER)"
        )
        database.execute("INSERT INTO jobs VALUES ('a', 'office', 'done', '', 0, 0, '', 1.0, 1)")
    database.close()
    jobs = BuildJobs(tmp_path)
    jobs.close()
    assert [(job.name, job.kind) for job in jobs.list()] == [("office", JobKind.BUILD)]
