"""One change of a map at a time, from reading it until the changed one is in its place."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

import pytest
from small_map import MANIFEST

from visloc_ros.core.atomic_write import atomic_folder
from visloc_ros.core.errors import OutputError
from visloc_ros.core.map_folder import remove_map
from visloc_ros.core.map_lock import MapBusyError, changing
from visloc_ros.core.map_preparation import add_prepared
from visloc_ros.core.map_writer import staged_folder

ROUNDS, PROCESSES = 50, 3


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "maps" / "office"
    path.mkdir(parents=True)
    (path / "count").write_text("0")
    (path / "manifest.json").write_text("{}")
    return path


def hold(place: Path, far_end: Connection) -> None:
    with changing(place):
        far_end.send("held")
        far_end.recv()


def count_up(place: Path) -> int:
    """Read, change and replace a folder many times; gives how often another process was just doing so."""
    done, refused = 0, 0
    while done < ROUNDS:
        try:
            with changing(place):
                number = int((place / "count").read_text())
                with atomic_folder(place) as folder:
                    (folder / "count").write_text(str(number + 1))
                done += 1
        except MapBusyError:
            refused += 1
    return refused


def test_no_change_is_lost_between_processes(place: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(PROCESSES, context) as pool:
        list(pool.map(count_up, [place] * PROCESSES))
    assert (place / "count").read_text() == str(PROCESSES * ROUNDS)
    assert [path.name for path in place.parent.iterdir()] == ["office"]


def outcome(act: Callable[[], None]) -> str:
    """What another thread is told that does this."""
    told = SimpleQueue[str]()

    def run() -> None:
        try:
            act()
            told.put("done")
        except OutputError as error:
            told.put(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return told.get()


def take(place: Path) -> None:
    with changing(place):
        pass


def write_again(place: Path) -> None:
    with staged_folder(place, overwrite=True):
        pass


def prepare(place: Path) -> None:
    add_prepared(place, "landmarks", MANIFEST, lambda _: {})


def test_another_thread_is_refused_in_words_and_the_same_one_is_not(place: Path) -> None:
    link = place.with_name("link")
    link.symlink_to(place)
    with changing(place), changing(link):
        assert "another process is changing the map" in outcome(lambda: take(place))
        assert "another process is changing the map" in outcome(lambda: take(link))
        for act in (remove_map, write_again, prepare):
            assert "another process is changing the map" in outcome(partial(act, place))
        assert outcome(lambda: take(place.with_name("other"))) == "done"
        assert (place / "count").exists()
    assert outcome(lambda: take(link)) == "done"
    remove_map(place)
    assert not place.exists()


def test_the_lock_of_a_killed_process_is_free(place: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    end, far_end = context.Pipe()
    process = context.Process(target=hold, args=(place, far_end))
    process.start()
    far_end.close()
    assert end.recv() == "held"
    with pytest.raises(MapBusyError):
        take(place)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    take(place)
    assert [path.name for path in place.parent.iterdir()] == ["office"]


def test_a_place_where_nothing_can_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="see that the folder is writable"):
        take(tmp_path / "file" / "office")
