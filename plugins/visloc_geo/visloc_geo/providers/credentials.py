"""Keys of services: from the environment, or a file that its owner alone can read; never shown."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.files import read_yaml

HIDDEN = "***"


@dataclass(frozen=True)
class Secret:
    """A key, which is shown as ``***`` wherever it is printed."""

    value: str

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self.value)


def read_secret(variable: str, key: str, file: Path | None) -> Secret:
    """A key from the file, where it has one of this name, otherwise from the environment; empty if there is neither.

    Raises ConfigError where others than its owner may read the file.
    """
    if file is not None:
        values = read_yaml(file, ConfigError)
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"others can read {file}: 'chmod 600 {file}', and get a new key if it was ever shared")
        if values.get(key):
            return Secret(str(values[key]))
    return Secret(os.environ.get(variable, ""))


def require(secret: Secret, variable: str, key: str, service: str) -> Secret:
    """The key. Raises ConfigError where it is empty."""
    if not secret:
        raise ConfigError(
            f"{service} needs a key: set {variable} in the environment, or give --credentials FILE (mode 600) with "
            f"'{key}: ...'"
        )
    return secret


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """The text without the secrets, also as addresses write them."""
    for secret in secrets:
        for form in {secret.value, quote(secret.value, safe=""), quote_plus(secret.value)} - {""}:
            text = text.replace(form, HIDDEN)
    return text
