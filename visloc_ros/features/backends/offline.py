"""Calls constructors of other packages without downloads: they find their files or fail.

Python reports network access and new processes of any library to audit hooks (PEP 578); the hook refuses them only in a
thread that is inside ``make_offline``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.error import URLError

from visloc_ros.core.errors import ModelError
from visloc_ros.features.weights_catalogue import name_at

T = TypeVar("T")

_MAX_REASON = 200
_DOWNLOADERS = ("wget", "curl", "git", "gdown")


class _Guard(threading.local):
    """Network accesses refused in the current thread, while it refuses them."""

    refused: list[str] | None = None


_guard = _Guard()
_installing = threading.Lock()
_is_installed = False


def make_offline(name: str, make: Callable[[], T], advice: str) -> T:
    """Call ``make`` without a network. Raises ModelError with the reason, and ``advice`` if it wanted to download."""
    with _network_refused() as refused:
        try:
            return make()
        except ModelError:
            raise
        except Exception as error:  # another package's constructor may raise anything
            if refused:
                raise ModelError(f"'{name}' lacks {refused[0]}: {_remedy(refused[0], advice)}") from error
            reason = " ".join(str(error).split())[:_MAX_REASON]
            raise ModelError(f"'{name}' cannot be made: {type(error).__name__}: {reason}") from error


def _remedy(wanted: str, advice: str) -> str:
    published = name_at(wanted)
    return f"run 'visloc fetch-weights {published}' where there is a network" if published else advice


@contextmanager
def _network_refused() -> Iterator[list[str]]:
    _install_hook()
    outer, _guard.refused = _guard.refused, []
    try:
        yield _guard.refused
    finally:
        _guard.refused = outer


def _install_hook() -> None:
    global _is_installed
    with _installing:
        if not _is_installed:
            sys.addaudithook(_refuse)
            _is_installed = True


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if _guard.refused is None:
        return
    wanted = _wanted(event, arguments)
    if wanted:
        _guard.refused.append(wanted)
        raise URLError(f"downloads are not allowed here: {wanted}")


def _wanted(event: str, arguments: tuple[Any, ...]) -> str:
    """The address that an audit event would fetch from a network; empty for any other event."""
    if event == "urllib.Request":
        return str(arguments[0])
    if event == "socket.getaddrinfo":
        return str(arguments[0])
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        return str(arguments[1][0])
    if event == "subprocess.Popen" and str(arguments[0]).rpartition("/")[2] in _DOWNLOADERS:
        return " ".join(map(str, arguments[1]))
    return ""
