"""Files that commands write: checked to be writable before the work, and kept however it ends."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visloc_ros.core.errors import OutputError
from visloc_ros.core.files import exists, is_folder

logger = logging.getLogger(__name__)

_RESULTS = (".tum", ".jsonl", ".json", ".html", ".png")


def check_outputs(*files: Path | None, folder: Path | None = None, is_continued: bool = False) -> None:
    """Check before the work that files, and a folder of files, can be written; warn of what is replaced.

    A job that is continued in its folder replaces nothing there. Raises OutputError.
    """
    given = [file for file in files if file is not None]
    for file in given:
        if is_folder(file):
            raise OutputError(f"cannot write {file}: it is a folder, name a file in it")
        if not is_folder(file.parent):
            raise OutputError(f"cannot write {file}: there is no folder {file.parent}")
        _try_to_write(file, file.parent)
    replaced = [str(file) for file in given if exists(file)]
    if replaced:
        logger.warning("replacing the existing %s", ", ".join(replaced))
    if folder is not None:
        there = next((path for path in (folder, *folder.absolute().parents) if exists(path)), folder)
        if not is_folder(there):
            raise OutputError(f"cannot write to {folder}: {there} is a file, choose another folder")
        _try_to_write(folder, there)
        earlier = sorted(path.name for path in folder.glob("*") if path.suffix in _RESULTS)
        if earlier and not is_continued:
            logger.warning("%s holds results of an earlier run, such as %s: they are replaced", folder, earlier[0])


def _try_to_write(wanted: Path, folder: Path) -> None:
    with writing(wanted), tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"x")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError in the block into an OutputError that names the path."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """Write figures. Raises OutputError."""
    with writing(path):
        path.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
