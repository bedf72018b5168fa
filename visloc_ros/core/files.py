"""Reading untrusted files: only plain files of a plausible size, with readable errors. A token is one of them.

A pipe or a device could block its reader for ever, an endless or huge file fill the memory, and a name can be too long
for the system. Every function raises the VislocError that it is given, with ``advice`` at the end of its message.
"""

from __future__ import annotations

import codecs
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from visloc_ros.core.errors import ConfigError, VislocError

LARGEST_TEXT_BYTES = 256 << 20
"""A trajectory of a day at 30 Hz."""
LARGEST_SETTINGS_BYTES = 1 << 20
LARGEST_IMAGE_BYTES = 256 << 20
LARGEST_MODEL_BYTES = 16 << 30
COPY_AGAIN = ": copy the map again or rebuild it"
SHORTEST_TOKEN = 16

_HEAD_BYTES = 128
_POINTER, _WEB_PAGE, _PAGES = b"version https://git-lfs", ("<!doctype html", "<html"), (".html", ".htm")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BINARY = {
    b"\x93NUMPY": "an array of NumPy",
    b"PK\x03\x04": "a ZIP archive (as NumPy's .npz)",
    b"\x80": "a pickle of Python, or another binary file",
    b"MATLAB": "a MAT-file of MATLAB",
    b"\x1f\x8b": "a gzip archive",
}


def exists(path: Path) -> bool:
    """Whether there is anything at a path, whatever the path is; what cannot be looked at is there."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    return True


def is_file(path: Path) -> bool:
    """Whether there is a plain file at a path, whatever the path is."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder at a path, whatever the path is."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def check_name(path: Path, error: type[VislocError]) -> None:
    """Raise the error where a name is not in UTF-8: libraries of images and videos end the process on such a one."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise error(
            f"the name {str(path)!a} is not in UTF-8, in which maps and results write names: rename it"
        ) from None


def check_file(path: Path, error: type[VislocError], at_most: int, advice: str = "") -> None:
    """Raise the error unless a path leads to a plain file of at most ``at_most`` bytes that was really fetched."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise error(f"cannot read {path}: it is missing{advice}") from None
    except (OSError, ValueError) as cause:
        raise error(f"cannot read {path}: {getattr(cause, 'strerror', None) or cause}{advice}") from cause
    if not stat.S_ISREG(status.st_mode):
        raise error(f"cannot read {path}: it is no file, but a folder, a pipe or a device{advice}")
    if status.st_size > at_most:
        raise error(f"cannot read {path}: {status.st_size} bytes are more than such a file can have{advice}")
    check_fetched(path, error)


def check_fetched(path: Path, error: type[VislocError]) -> None:
    """Raise the error where a file only stands for one: a pointer of Git LFS, the web page of a refused download."""
    if not is_file(path):
        return
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:  # whoever reads it reports that
        return
    if head.startswith(_POINTER):
        raise error(f"cannot read {path}: it is only a pointer of Git LFS; fetch the file itself with 'git lfs pull'")
    if path.suffix not in _PAGES and head.decode("utf-8-sig", "replace").lstrip().lower().startswith(_WEB_PAGE):
        raise error(f"cannot read {path}: it is a web page, as servers send it instead of a file; download it again")


def check_within(path: Path, folder: Path, error: type[VislocError]) -> None:
    """Raise the error where a path leads out of a folder over a link, or such links form a circle."""
    try:
        is_within = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # the latter before Python 3.13
        is_within = False
    if not is_within:
        raise error(f"{path} leads out of {folder} over a link: put a copy of the file in its place")


def check_links(folder: Path, error: type[VislocError], but_not: str = "") -> None:
    """Raise the error where a link anywhere in a folder leads out of it; its subfolder ``but_not`` is not searched."""
    for path in _links_in(folder, but_not):
        check_within(path, folder, error)


def _links_in(folder: Path, but_not: str) -> Iterator[Path]:
    """All links, in no order; not by recursion, which a folder that is nested deeply enough would break."""
    left = [str(folder)]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield Path(entry)
                elif entry.is_dir() and entry.path != str(folder / but_not):
                    left.append(entry.path)


def read_bytes(path: Path, error: type[VislocError], at_most: int, advice: str = "") -> bytes:
    """Content of a plain file."""
    check_file(path, error, at_most, advice)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(size + 1)
    except OSError as cause:
        raise error(f"cannot read {path}: {cause.strerror or cause}{advice}") from cause
    if len(content) > min(size, at_most):  # devices of the system call themselves files of no size
        raise error(f"cannot read {path}: it is larger than it says, or than such a file can be{advice}")
    return content


def read_text(path: Path, error: type[VislocError], at_most: int = LARGEST_TEXT_BYTES, advice: str = "") -> str:
    """Content of a plain file of text without its byte order mark, all kinds of line ends as ``\\n``.

    It is in UTF-8, or where it begins with the mark of UTF-16, as PowerShell writes it, in that.
    """
    content = read_bytes(path, error, at_most, advice)
    try:
        text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as cause:
        kind = next((name for begin, name in _BINARY.items() if content.startswith(begin)), "")
        reason = f"it is {kind}, no text" if kind else f"it is no text in UTF-8 ({cause})"
        raise error(f"cannot read {path}: {reason}{advice}") from cause
    return text.replace("\r\n", "\n").replace("\r", "\n")


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that occurs twice, where YAML itself silently takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node. Raises yaml.YAMLError."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.YAMLError(f"'{twice}' is there twice{node.start_mark}: leave one of them out")
        return super().construct_mapping(node, deep)

    def construct_matrix(self, node: yaml.MappingNode) -> dict[Any, Any]:
        """The mapping of a matrix of OpenCV. Raises yaml.YAMLError."""
        return self.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:opencv-matrix", _UniqueKeyLoader.construct_matrix)


def read_yaml(path: Path, error: type[VislocError]) -> dict[str, Any]:
    """Keys and values of a YAML file, OpenCV's header and matrices allowed; the keys are names, at every depth."""
    text = read_text(path, error, LARGEST_SETTINGS_BYTES).removeprefix("%YAML:1.0")
    try:
        values = yaml.load(text, Loader=_UniqueKeyLoader)
        if values is not None and not _has_names(values):
            raise error(f"{path} must hold 'key: value' lines")
    except (yaml.YAMLError, ValueError, RecursionError) as cause:
        raise error(f"cannot read {path} as YAML: {cause}") from cause
    return values or {}


def _has_names(values: object) -> bool:
    """Whether these are names with values, and so are all groups among the values."""
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        return False
    return all(_has_names(value) for value in values.values() if isinstance(value, dict))


def read_token(path: Path | None) -> str:
    """The token in a file, without the line's end; empty without a file. Raises ConfigError."""
    if path is None:
        return ""
    token = read_text(path, ConfigError).strip()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{path} holds no token: write one word of {SHORTEST_TOKEN} or more plain characters into it")
    return token
