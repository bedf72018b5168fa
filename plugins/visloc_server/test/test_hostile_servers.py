"""Pulling a map from servers that are hostile or broken: refused in one line, and nothing has changed."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hostile_server import ALL, HUNGRY, HostileServer
from pydantic import ValidationError
from small_map import MANIFEST, synthetic_parts

from visloc_ros.core.manifest import read_manifest
from visloc_ros.core.map_versions import changed_folder, successor
from visloc_ros.core.map_writer import save_map, write_map
from visloc_server.answers import LocalizeAnswer

MOST_MB = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The older ``here``, and ``there``, in which the features of one image are others."""
    folder = tmp_path_factory.mktemp("maps")
    reconstruction, features, *others = synthetic_parts(64)
    for name in ("here", "there"):
        save_map(folder / name, reconstruction, features, *others, MANIFEST)
    before = read_manifest(folder / "there")
    first = min(features)
    features[first] = replace(features[first], scores=features[first].scores + np.float32(1.0))
    with changed_folder(folder / "there", before, folder / "there", overwrite=True) as new:
        manifest = successor(MANIFEST, folder / "there", before, "update")
        write_map(new, reconstruction, features, *others, manifest)
    return folder


@pytest.fixture(scope="module")
def outcomes(folder):
    """What became of a copy that was pulled from each."""
    with HostileServer(folder / "there") as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        script, port = Path(__file__).with_name("puller.py"), server.server_address[1]
        in_turn = len(HUNGRY)
        command = [sys.executable, script, port, folder / "here", folder / "work", in_turn, len(ALL) - in_turn]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=200)
        server.shutdown()
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(ALL, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("kind", ALL)
def test_is_refused_in_one_line_and_nothing_has_changed(outcomes, kind):
    one = outcomes[kind]
    words = one["words"]
    assert not words.startswith(("nothing:", "no words of ours:")), words
    assert words.isprintable()
    assert len(words) <= 800
    assert ": " in words  # what to do, or to know, after what is wrong
    for foreign in ("Traceback", "validation error", "pydantic", "httpx", "no " * 200):
        assert foreign not in words
    assert one["same"]
    assert set(one["beside"]) <= {"room", ".room.pulled"}
    assert one["left"] < 1 << 20


@pytest.mark.parametrize("kind", HUNGRY)
def test_takes_little_memory(outcomes, kind):
    assert outcomes[kind]["peak_mb"] <= MOST_MB


@pytest.mark.parametrize("numbers", [{"num_inliers": 10**40}, {"num_matches": -1}, {"inlier_landmarks": [10**40]}])
def test_an_answer_with_numbers_that_no_message_holds_is_refused_before_it_is_used(numbers):
    values = {"success": True, "map": "room", "metric": True, "gravity_aligned": True}
    LocalizeAnswer.model_validate(values)
    with pytest.raises(ValidationError):
        LocalizeAnswer.model_validate({**values, **numbers})
