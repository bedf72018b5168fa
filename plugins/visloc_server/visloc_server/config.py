"""Settings of the server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from visloc_ros.localization.config import RETRIEVAL

_MOST_AT_ONCE = 8  # each process has its own models, which take more than a gigabyte of memory, and that of a GPU, too
_PROCESSORS = 2  # of a search: its networks use several


def searches_at_once(processors: int) -> int:
    """How many searches so many processors do at once; one where there are few."""
    return max(1, min(processors // _PROCESSORS, _MOST_AT_ONCE))


@dataclass(frozen=True)
class ServerConfig:
    """The folder of the maps, the limit of their memory, and the token that clients need; empty: none.

    Reports below ``reports_folder`` can be read. ``search`` is the way of searching for maps that are prepared for it;
    others are searched by retrieval, and reduced ones by the way that they allow. Beside the server's own, at most so
    many ``processes`` search while clients wait.
    """

    maps_folder: Path
    memory_bytes: int = 4 << 30
    token: str = ""
    reports_folder: Path | None = None
    search: str = RETRIEVAL
    processes: int = 0
