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
from visloc_ros.core.map_versions import changed_folder, successor
from visloc_ros.core.map_writer import save_map, write_map
from visloc_ros.execution.content_key import content_key
from visloc_server import build_jobs
from visloc_server.build_jobs import BuildJobs
from visloc_server.job import JobKind


def build(send, plan):
    """Write a map, unless there is one."""
    save_map(plan.output, *synthetic_parts(), replace(MANIFEST, created_from=plan.source.stem))
    return "6 images"


def update(send, plan):
    """Write another version of a map, which says of what recording."""
    before = read_manifest(plan.path)
    session = {"name": plan.recording.stem, "recording": content_key(plan.recording)}
    with changed_folder(plan.path, before, plan.path, overwrite=True) as folder:
        manifest = replace(MANIFEST, sessions=[*before.sessions, session])
        write_map(folder, *synthetic_parts(), successor(manifest, plan.path, before, "update"))
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
