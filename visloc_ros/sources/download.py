"""One file over HTTP: complete, of a plausible size and with the right checksum, or absent."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from visloc_ros.core.errors import VislocError
from visloc_ros.sources.bounded_answers import Answer, AnswerError, BoundedClient, TooLongError

_SILENCE_S, _PATIENCE_S = 30.0, 60.0
_REDIRECTIONS = 10


class DownloadBar(Protocol):
    """A bar of progress: ``total`` bytes are set where the server states them, and those that arrive are counted."""

    total: int

    def update(self, steps: int) -> None:
        """Count bytes that have arrived."""
        ...


@dataclass(frozen=True)
class Wanted:
    """A file: its address, its name, the most bytes it can have, and its SHA-256 where known."""

    url: str
    name: str
    error: type[VislocError]
    at_most: int
    sha256: str = ""


def download(wanted: Wanted, path: Path, bar: DownloadBar | None = None) -> None:
    """Download a file. Raises the error of ``wanted``; an OSError where it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as folder:
        arrived, digest = Path(folder) / path.name, hashlib.sha256()
        with _answer(wanted, "GET") as answer, arrived.open("wb") as file:
            if bar is not None:
                bar.total = _stated_size(answer)
            for piece in answer.pieces(wanted.at_most):
                digest.update(piece)
                file.write(piece)
                if bar is not None:
                    bar.update(len(piece))
        if wanted.sha256 not in ("", digest.hexdigest()):
            what = f"what {wanted.url} gives is not '{wanted.name}' (its checksum differs)"
            raise wanted.error(f"{what}: nothing was kept; try again later")
        arrived.replace(path)


def size_of(wanted: Wanted) -> int:
    """The bytes of a file by the server, 0 where it does not state them. Raises the error of ``wanted``."""
    with _answer(wanted, "HEAD") as answer:
        return _stated_size(answer)


@contextmanager
def _answer(wanted: Wanted, method: str) -> Iterator[Answer]:
    """What the server gives, wherever it sends one to. Raises the error of ``wanted``."""
    try:
        with (
            httpx.Client(timeout=_SILENCE_S, follow_redirects=True, max_redirects=_REDIRECTIONS) as client,
            BoundedClient(client, _PATIENCE_S).ask(method, wanted.url) as answer,
        ):
            if answer.status != httpx.codes.OK:
                raise AnswerError(f"answers HTTP {answer.status}")
            yield answer
    except TooLongError:
        larger = f"what {wanted.url} gives is larger than '{wanted.name}' can be"
        raise wanted.error(f"{larger}: nothing was kept") from None
    except AnswerError as error:
        raise wanted.error(f"cannot download {wanted.url}: it {error}; try again where there is a network") from error


def _stated_size(answer: Answer) -> int:
    stated = answer.headers.get("Content-Length", "")
    return int(stated) if stated.isdigit() else 0
