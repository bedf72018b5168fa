"""One file over HTTP: complete, of a plausible size and with the right checksum, or absent."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from visloc_ros.core.errors import VislocError

_TIMEOUT_S = 30


class DownloadBar(Protocol):
    """The interface of pooch's progress bars: ``total`` bytes are set, then it is updated, reset and closed."""

    total: int

    def update(self, steps: int) -> None:
        """Count bytes that have arrived."""
        ...

    def reset(self) -> None:
        """Begin again at zero."""
        ...

    def close(self) -> None:
        """Remove the bar."""
        ...


@dataclass(frozen=True)
class Wanted:
    """A file: its address, its name, its SHA-256 where known, and the most bytes it can have."""

    url: str
    name: str
    error: type[VislocError]
    sha256: str = ""
    at_most: int | None = None

    @property
    def too_large(self) -> VislocError:
        """The error for a file with more bytes."""
        return self.error(f"what {self.url} gives is larger than '{self.name}' can be: nothing was kept")


def download(wanted: Wanted, path: Path, bar: DownloadBar | None = None) -> None:
    """Download a file. Raises the error of ``wanted``; an OSError where it cannot be written."""
    pooch, requests = _packages(wanted.error)
    watched = bar if wanted.at_most is None else _LimitedBar(wanted, bar)
    try:
        pooch.retrieve(
            wanted.url,
            known_hash=f"sha256:{wanted.sha256}" if wanted.sha256 else None,
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(progressbar=watched or False, timeout=_TIMEOUT_S),
        )
    except requests.exceptions.RequestException as error:
        raise _unreachable(wanted, error) from error
    except ValueError as error:
        raise wanted.error(
            f"what {wanted.url} gives is not '{wanted.name}' (its checksum differs): nothing was kept; try again later"
        ) from error


def size_of(wanted: Wanted) -> int:
    """The bytes of a file by the server, 0 where it does not state them. Raises the error of ``wanted``."""
    _, requests = _packages(wanted.error)
    try:
        answer = requests.head(wanted.url, timeout=_TIMEOUT_S, allow_redirects=True)
        answer.raise_for_status()
        return int(answer.headers.get("content-length", 0))
    except requests.exceptions.RequestException as error:
        raise _unreachable(wanted, error) from error
    except ValueError:
        return 0


def _unreachable(wanted: Wanted, error: Any) -> VislocError:
    reason = type(error).__name__ if error.response is None else f"HTTP {error.response.status_code}"
    return wanted.error(f"cannot download {wanted.url} ({reason}): try again where there is a network")


def _packages(error: type[VislocError]) -> tuple[Any, Any]:
    try:
        pooch, requests = importlib.import_module("pooch"), importlib.import_module("requests")
    except ImportError as cause:
        raise error("downloads need the Python package pooch: pip install pooch") from cause
    pooch.get_logger().setLevel("WARNING")
    return pooch, requests


class _LimitedBar:
    """A bar that aborts a file that is too large, before or while it arrives."""

    def __init__(self, wanted: Wanted, shown: DownloadBar | None) -> None:
        self._wanted, self._shown = wanted, shown
        self._arrived = self._total = 0

    @property
    def total(self) -> int:
        """Bytes to come."""
        return self._total

    @total.setter
    def total(self, size: int) -> None:
        self._total = size
        if self._shown is not None:
            self._shown.total = size
        self._check(size)

    def update(self, steps: int) -> None:
        """Count bytes that have arrived."""
        self._check(self._arrived)  # without the last ones, which are counted as more than they are
        self._arrived += steps
        if self._shown is not None:
            self._shown.update(steps)

    def reset(self) -> None:
        """Begin again at zero."""
        self._arrived = 0
        if self._shown is not None:
            self._shown.reset()

    def close(self) -> None:
        """Remove the bar."""
        if self._shown is not None:
            self._shown.close()

    def _check(self, size: int) -> None:
        if self._wanted.at_most is not None and size > self._wanted.at_most:
            raise self._wanted.too_large
