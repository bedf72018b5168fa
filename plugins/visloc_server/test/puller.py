"""Pulls a map from one server after the other, in a process whose memory is measured: a line of JSON for each."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from visloc_ros.core.errors import VislocError
from visloc_server.client import LocalizationClient
from visloc_server.pulling import pull_map

ANSWER_S = 1.0
WITHIN_S = 10.0
MOST_BYTES = 6 << 30  # of addresses, so that a puller that fails spares the computer


def content(folder: Path) -> str:
    """A hash of all names and bytes below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)}\0{path.lstat().st_mode}\0".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def pull(url: str, copy: Path) -> str:
    """Pull within a time limit, and give the error."""
    said: list[str] = []

    def run() -> None:
        try:
            with LocalizationClient(url, answer_s=ANSWER_S) as client:
                pull_map(client, "room", copy)
            said.append("nothing: it was taken")
        except VislocError as error:
            said.append(str(error))
        except BaseException as error:
            said.append(f"no words of ours: {type(error).__name__} {error}"[:300])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(WITHIN_S)
    return said[0] if said else "nothing: it waits for ever"


def peak_mb() -> float:
    """The most memory that the process had since the last question."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    Path("/proc/self/clear_refs").write_text("5")
    return int(fields["VmHWM"].split()[0]) / 1000


def outcome(url: str, here: Path, folder: Path) -> dict[str, object]:
    """What becomes of a copy of the map."""
    copy = Path(shutil.copytree(here, folder / "room"))
    before = content(copy)
    words = pull(url, copy)
    left = sum(path.stat().st_size for path in folder.glob(".*/**/*") if path.is_file())
    known = sorted(path.name for path in folder.iterdir())
    result = {"words": words, "same": content(copy) == before, "left": left, "beside": known, "peak_mb": peak_mb()}
    shutil.rmtree(folder)
    return result


def main(port: str, here: str, work: str, in_turn: str, at_once: str) -> None:
    """Pull from so many kinds of servers one after the other, and then from others at once."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))

    def one(number: int) -> str:
        url = f"http://127.0.0.1:{port}/{number}"
        return json.dumps(outcome(url, Path(here), Path(work) / str(number)))

    for line in _lines(one, int(in_turn), int(at_once)):
        print(line, flush=True)


def _lines(one, in_turn: int, at_once: int) -> Iterator[str]:  # type: ignore[no-untyped-def]
    yield from map(one, range(in_turn))
    with ThreadPoolExecutor(8) as pool:
        yield from pool.map(one, range(in_turn, in_turn + at_once))


if __name__ == "__main__":
    main(*sys.argv[1:])
