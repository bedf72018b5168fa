"""The secret that a server and its clients share, in a file."""

from __future__ import annotations

from pathlib import Path

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.files import read_text

SHORTEST_TOKEN = 16


def read_token(path: Path | None) -> str:
    """The token in a file, without the line's end; empty without a file. Raises ConfigError."""
    if path is None:
        return ""
    token = read_text(path, ConfigError).strip()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{path} holds no token: write one word of {SHORTEST_TOKEN} or more plain characters into it")
    return token
