"""Whatever fails while something is written: the old or the new one is whole, and the next try leaves nothing else."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from interrupted_writes import FAILURES, SCENARIOS
from search_length import EXAMPLES

HERE = Path(__file__).parent
IMPORTED = os.pathsep.join(map(str, (HERE.parents[1], HERE.parent / "core")))
TRIALS = 0 if EXAMPLES else 3  # of each failure, spread over the calls; 0 are all
TRIED = [name for name in SCENARIOS if EXAMPLES or name != "update in place"]  # which is written as a new map is


@pytest.fixture(scope="session")
def faulty_disk(tmp_path_factory):
    """The library that lets writing fail."""
    library = tmp_path_factory.mktemp("faulty") / "faulty_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "faulty_disk.c", "-ldl"], check=True)
    return library


@pytest.fixture(scope="session")
def tried(faulty_disk, tmp_path_factory):
    """What became of each try, by the scenarios that were asked for; asked once for each group of them."""

    @cache
    def run(names, *data):
        folder = tmp_path_factory.mktemp("tried")
        done = subprocess.run(
            [sys.executable, HERE / "interrupted_writes.py", names, folder, str(TRIALS), *data],
            env=os.environ | {"LD_PRELOAD": str(faulty_disk), "PYTHONPATH": IMPORTED},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture(params=TRIED)
def trials(request, tried):
    """What became of each try of a scenario."""
    if SCENARIOS[request.param].is_long:
        results = tried(request.param, request.getfixturevalue("shared_data"))
    else:
        results = tried(",".join(name for name in TRIED if not SCENARIOS[name].is_long))
    return [trial for trial in results if trial["scenario"] == request.param]


@pytest.mark.timeout(3600 if EXAMPLES else 240)
def test_the_old_or_the_new_one_is_whole(trials):
    good, *failed = trials
    assert good["state"] == "new"
    assert good["before"] in ("old", "none")
    assert {trial["failure"] for trial in failed} == set(FAILURES)
    for trial in failed:
        if trial["failure"] == "killed":
            assert trial["code"] == -9, trial
        else:
            assert trial["code"] in (0, 1), trial  # an error in words, no crash
            assert len(trial["words"].splitlines()) <= 1, trial
        assert trial["state"] in ((good["before"], "new") if trial["code"] else ("new",)), trial
        if trial["failure"] == "disk full":
            assert not [name for name in trial["left"] if ".partial" in name], trial
        code, _, state, left = trial["second"]
        assert (code, state, left) == (0, "new", good["left"]), trial
