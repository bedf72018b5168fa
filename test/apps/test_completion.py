"""The shell completes commands, their options and groups of commands, which are imported only when asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("words", "expected"),
    [("visloc batc", {"batch"}), ("visloc build-map --outp", {"--output"}), ("visloc maps ch", {"check"})],
)
def test_words_are_completed(words, expected):
    count = str(len(words.split()) - 1)
    environment = os.environ | {"_VISLOC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count}
    done = subprocess.run(
        [Path(sys.executable).with_name("visloc")], env=environment, capture_output=True, text=True, timeout=60
    )
    assert set(done.stdout.split()) == expected, done.stderr
