"""Which requests of earlier runs need not be sent again: a file in the folder of the database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from visloc_ros.core.errors import GeoError, OutputError

LOG_NAME = "requests.sqlite"
_WAIT_S = 10.0


class RequestLog:
    """Requests that were answered, with the further ones that each led to. Used by one thread."""

    def __init__(self, folder: Path | None) -> None:
        """Open the file, made if it is missing; without a folder nothing is kept. Raises GeoError for another file."""
        self._path = Path(":memory:") if folder is None else folder / LOG_NAME
        try:
            self._file = sqlite3.connect(self._path, timeout=_WAIT_S)
            # Safe when the process is killed; where the power fails, the last requests may be sent again.
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = NORMAL")
            with self._file:
                self._file.execute("CREATE TABLE IF NOT EXISTS answered (request TEXT PRIMARY KEY, further TEXT)")
        except sqlite3.DatabaseError as error:
            raise GeoError(f"cannot use {self._path} ({error}): remove it to ask again for what it lists") from error

    def further(self, request: str) -> list[str] | None:
        """The requests that an answered one led to, None for one that was not answered."""
        row = self._file.execute("SELECT further FROM answered WHERE request = ?", (request,)).fetchone()
        return None if row is None else list(json.loads(row[0]))

    def note(self, request: str, further: Sequence[str] = ()) -> None:
        """Note a request as answered, once its result is stored. Raises OutputError."""
        try:
            with self._file:
                self._file.execute("INSERT OR REPLACE INTO answered VALUES (?, ?)", (request, json.dumps(further)))
        except sqlite3.Error as error:
            raise OutputError(f"cannot write {self._path}: {error}") from error

    def forget(self, request: str) -> None:
        """Have a request sent again. Raises OutputError."""
        try:
            with self._file:
                self._file.execute("DELETE FROM answered WHERE request = ?", (request,))
        except sqlite3.Error as error:
            raise OutputError(f"cannot write {self._path}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> RequestLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
