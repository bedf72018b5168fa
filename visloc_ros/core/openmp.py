"""How the threads of OpenMP, torch's among them, wait for each other."""

from __future__ import annotations

import os


def sleep_while_waiting() -> None:
    """Let them sleep; to be called before torch is loaded, which reads it then. A choice of the user's stays.

    By default they spin: where other programs use the same cores, a search with two threads took 55 s in place of 1.7
    (four other programs on two cores).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
