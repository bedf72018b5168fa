"""Maps updated over HTTP: what is refused changes nothing, and older lists of jobs are read."""

import shutil
import sqlite3
import time

import pytest
from test_serve import asked_here

from visloc_ros.apps.server_process import WAIT_S
from visloc_ros.core.errors import SourceError
from visloc_ros.server.app import make_app
from visloc_ros.server.build_jobs import DATABASE, FOLDER, BuildJobs
from visloc_ros.server.client import LocalizationClient, ServerError
from visloc_ros.server.config import ServerConfig
from visloc_ros.server.job import JobKind


@pytest.fixture
def maps_folder(maps, tmp_path):
    """The maps that all servers share, to be changed."""
    shutil.copytree(maps, tmp_path, dirs_exist_ok=True)
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_recording_that_teaches_nothing_leaves_the_map(maps_folder):
    before = contents(maps_folder / "room")
    with asked_here(make_app(ServerConfig(maps_folder))) as client:
        begun = client.post("/reference/update", data={"name": "room"}, files={"file": ("monday.mp4", b"no video")})
        assert begun.status_code == 202
        deadline = time.monotonic() + WAIT_S
        while (job := client.get(f"/reference/jobs/{begun.json()['id']}").json())["state"] in ("queued", "building"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert (job["state"], "monday.mp4" in job["message"]) == ("failed", True), job
        assert str(maps_folder) not in job["message"]
        assert len(client.get("/reference/maps/room/versions").json()) == 1
    assert contents(maps_folder / "room") == before


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
