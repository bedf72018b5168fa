"""Work of the server's jobs that takes a moment, and a server that dies before it notes such work as done."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from small_map import MANIFEST, synthetic_parts

from visloc_ros.core.manifest import read_manifest
from visloc_ros.core.map_versions import keep_versions, next_version
from visloc_ros.core.map_writer import save_map, staged_folder, write_map
from visloc_ros.server import build_jobs
from visloc_ros.server.build_jobs import BuildJobs
from visloc_ros.server.job import JobKind
from visloc_ros.sources.content import content_of


def build(send, plan):
    """Write a map, unless there is one."""
    save_map(plan.output, *synthetic_parts(), replace(MANIFEST, created_from=plan.source.stem))
    return "6 images"


def update(send, plan):
    """Write another version of a map, which says of what recording."""
    before = read_manifest(plan.path)
    session = {"name": plan.recording.stem, "before": before.model_id, "recording": content_of(plan.recording)}
    with staged_folder(plan.path, overwrite=True) as folder:
        number, sessions = next_version(plan.path), [*before.sessions, session]
        write_map(folder, *synthetic_parts(), replace(MANIFEST, version=number, sessions=sessions))
        keep_versions(plan.path, folder)
    return "taught the map"


def update_and_die(send, plan):
    """The same by a process that crashes then."""
    update(send, plan)
    os.kill(os.getpid(), signal.SIGKILL)


def update_to_the_last(send, plan):
    """Update a map like a native function that does not heed the end of the server, when a file says so."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    (plan.path.parent / "begun").touch()
    while not (plan.path.parent / "go").exists():
        time.sleep(0.01)
    update(send, plan)


def build_and_stay(send, plan):
    """Write a map, and do not end."""
    build(send, plan)
    signal.pause()


class MortalJobs(BuildJobs):
    """Dies where a job would be noted as done."""

    def _end(self, job, state, message):
        os.kill(os.getpid(), signal.SIGKILL)


def main(maps: str, kind: str, work: str) -> None:
    """Serve one job."""
    build_jobs.build, build_jobs.update = build, globals()[work]
    jobs = MortalJobs(Path(maps))
    upload = jobs.new_upload(jobs.check("office", "walk.mp4", JobKind(kind)))
    upload.write_bytes(b"a walk")
    jobs.add(upload, "office", JobKind(kind))
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
