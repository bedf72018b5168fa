"""A mark tells whether workers see the folder that is meant, however many start in it at once."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

from visloc_ros.core.errors import SetupError
from visloc_ros.execution.shared_place import mark_place

STARTS, PROCESSES = 100, 4


def refusals(folder: Path, barrier: Barrier) -> int:
    """How often one of several processes that start in new folders at once refuses the folder that it has marked."""
    count = 0
    for number in range(STARTS):
        barrier.wait()
        mark = mark_place(str(folder / str(number)))
        barrier.wait()
        try:
            mark.check()
        except SetupError:
            count += 1
    return count


def test_processes_that_start_in_a_new_folder_at_once_all_see_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(PROCESSES, context) as pool:
        barrier = manager.Barrier(PROCESSES)
        assert list(pool.map(refusals, [tmp_path] * PROCESSES, [barrier] * PROCESSES)) == [0] * PROCESSES


def test_one_mark_serves_all_later_starts(tmp_path: Path) -> None:
    marks = {mark_place(str(tmp_path)) for _ in range(3)}
    assert len(marks) == len(list(tmp_path.iterdir())) == 1
