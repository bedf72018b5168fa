"""A map whose update or rollback is killed before any step in the file system is the old or the new one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
# In a process of its own, since it forks: other tests may have left threads in this one.
KILLS = """
import json, sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from shutil import copytree
from small_map import MANIFEST, synthetic_parts
from benchmarks.mapping.update_crashes import Job, change_over, killed_at_steps, to_other_version
from visloc_ros.core.map_writer import save_map

work = Path(sys.argv[1])
save_map(work / "old", *synthetic_parts(), MANIFEST)
save_map(work / "new", *synthetic_parts(dimension=8), MANIFEST)
(work / "old" / "thumbnails").mkdir()
(work / "old" / "thumbnails" / "a.jpg").write_bytes(b"a")
change = partial(change_over, work / "new")
copytree(work / "old", work / "updated")
change(work / "updated")
jobs = {
    "update": Job(work / "old", change),
    "rollback": Job(work / "updated", to_other_version),
}
for name, job in jobs.items():
    print(json.dumps([name, [asdict(trial) for trial in killed_at_steps(job, work / "steps")]]))
"""


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """What was there after each kill, and after the next try."""
    done = subprocess.run(
        [sys.executable, "-c", KILLS, tmp_path_factory.mktemp("kills")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "test" / "core")))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))


@pytest.mark.parametrize("job", ["update", "rollback"])
def test_the_old_or_the_new_map_is_there_to_the_byte_and_the_next_try_succeeds(trials, job):
    states = [trial["state"] for trial in trials[job]]
    first_new = states.index("new")
    assert first_new > 20
    assert states == ["old"] * first_new + ["new"] * (len(states) - first_new)
    assert {trial["problem"] for trial in trials[job]} == {""}


@pytest.mark.parametrize("job", ["update", "rollback"])
def test_what_a_killed_one_leaves_beside_the_map_goes_with_the_next_try(trials, job):
    assert any(trial["beside_bytes"] for trial in trials[job])
    assert [trial["left"] for trial in trials[job]] == [[]] * len(trials[job])
