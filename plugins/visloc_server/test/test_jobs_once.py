"""A job is the same job when it runs again: whatever ends the server, or a job's process, its work is done once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import quick_work
from small_map import MANIFEST, synthetic_parts

from plugins.visloc_server.testing.server_process import WAIT_S
from visloc_ros.core.manifest import read_manifest
from visloc_ros.core.map_writer import save_map
from visloc_server import build_jobs
from visloc_server.build_jobs import DONE_BEFORE, FOLDER, BuildJobs
from visloc_server.job import OPEN, JobKind, JobState


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Jobs do the work of a moment."""
    for name in ("build", "update"):
        monkeypatch.setattr(build_jobs, name, getattr(quick_work, name))


@pytest.fixture
def maps(tmp_path):
    """A folder with a map, as it was built."""
    save_map(tmp_path / "office", *synthetic_parts(), MANIFEST)
    return tmp_path


def server(maps, kind, work="update"):
    """A server with a job, which dies between the work and the note that it is done."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(Path(quick_work.__file__)), str(maps), kind.value, work]
    return subprocess.Popen(command, env=environment)


def serve_until_death(maps, kind):
    with server(maps, kind) as process:
        assert process.wait(WAIT_S) == -signal.SIGKILL


def wait_until_there(path):
    deadline = time.monotonic() + WAIT_S
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended_job(jobs):
    deadline = time.monotonic() + WAIT_S
    while (job := jobs.list()[0]).state in OPEN:
        assert time.monotonic() < deadline, job
        time.sleep(0.01)
    jobs.close()
    return job


def add(jobs, kind=JobKind.UPDATE, content=b"a walk"):
    upload = jobs.new_upload(jobs.check("office", "walk.mp4", kind))
    upload.write_bytes(content)
    return jobs.add(upload, "office", kind)


def is_cleared(maps):
    return [path for path in (maps / FOLDER).iterdir() if path.is_dir()] == []


def test_an_update_is_applied_once_though_the_server_dies_before_it_notes_that(maps):
    serve_until_death(maps, JobKind.UPDATE)
    done = read_manifest(maps / "office")
    assert (done.version, len(done.sessions)) == (2, 1)
    job = ended_job(BuildJobs(maps))
    assert (job.state, job.message, job.starts) == (JobState.DONE, DONE_BEFORE, 1)
    assert read_manifest(maps / "office") == done
    assert is_cleared(maps)


@pytest.mark.parametrize("ending", ["done", "cancelled"])
def test_a_process_that_outlives_its_server_is_waited_for(maps, ending):
    """It changes the map when the next server has started already."""
    with server(maps, JobKind.UPDATE, "update_to_the_last") as process:
        wait_until_there(maps / "begun")
        process.kill()
    jobs = BuildJobs(maps)
    (job,) = jobs.list()
    assert job.state is JobState.BUILDING
    if ending == "cancelled":
        jobs.cancel(job.id)
    (maps / "go").touch()
    deadline = time.monotonic() + WAIT_S
    while not is_cleared(maps):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    job = ended_job(jobs)
    assert (job.state, job.message, job.starts) == (JobState.DONE, DONE_BEFORE, 1)
    manifest = read_manifest(maps / "office")
    assert (manifest.version, len(manifest.sessions)) == (2, 1)


def test_a_build_is_done_once_though_the_server_dies_before_it_notes_that(tmp_path):
    serve_until_death(tmp_path, JobKind.BUILD)
    manifest = tmp_path / "office" / "manifest.json"
    written = manifest.stat().st_mtime_ns
    job = ended_job(BuildJobs(tmp_path))
    assert (job.state, job.message) == (JobState.DONE, DONE_BEFORE)
    assert manifest.stat().st_mtime_ns == written
    assert is_cleared(tmp_path)


def test_an_update_whose_process_dies_once_the_map_has_learned_is_done(maps, monkeypatch):
    monkeypatch.setattr(build_jobs, "update", quick_work.update_and_die)
    told = []
    jobs = BuildJobs(maps, told.append)
    add(jobs)
    job = ended_job(jobs)
    assert (job.state, job.message, told) == (JobState.DONE, DONE_BEFORE, ["office"])


def test_a_build_that_is_cancelled_once_its_map_is_there_leaves_none(tmp_path, monkeypatch):
    monkeypatch.setattr(build_jobs, "build", quick_work.build_and_stay)
    jobs = BuildJobs(tmp_path)
    job = add(jobs, JobKind.BUILD)
    wait_until_there(tmp_path / "office")
    assert jobs.cancel(job.id).state is JobState.CANCELLED
    deadline = time.monotonic() + WAIT_S
    while not is_cleared(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert ended_job(jobs).state is JobState.CANCELLED
    assert not (tmp_path / "office").exists()


@pytest.mark.parametrize("change", ["another recording", "an older map", "no map"])
def test_a_job_that_had_not_changed_the_map_runs_again(maps, change):
    """It began, and the server died before the work was done."""
    jobs = BuildJobs(maps)
    jobs.check("office", "walk.mp4", JobKind.UPDATE)
    jobs.close()  # nothing is done here
    is_build = change == "no map"
    if is_build:
        (maps / "office").rename(maps / "attic")
    elif change == "another recording":
        (maps / "attic.mp4").write_bytes(b"another walk")
        quick_work.update(None, build_jobs.UpdatePlan(maps / "office", maps / "attic.mp4"))
    job = add(jobs, JobKind.BUILD if is_build else JobKind.UPDATE)
    jobs._set(job.id, state=JobState.BUILDING.value, starts=1)
    job = ended_job(BuildJobs(maps))
    assert (job.state, job.starts) == (JobState.DONE, 2)
    assert job.message == ("6 images" if is_build else "taught the map")


def test_a_map_that_another_has_put_in_a_builds_place_is_not_taken_for_its_own(tmp_path):
    jobs = BuildJobs(tmp_path)
    jobs.check("office", "walk.mp4")
    jobs.close()
    job = add(jobs, JobKind.BUILD)
    jobs._set(job.id, state=JobState.BUILDING.value, starts=1)
    save_map(tmp_path / "office", *synthetic_parts(), MANIFEST)
    job = ended_job(BuildJobs(tmp_path))
    assert (job.state, "already holds a map" in job.message) == (JobState.FAILED, True)
    assert read_manifest(tmp_path / "office").created_from == MANIFEST.created_from
