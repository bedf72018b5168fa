"""A finding of a check: its subject, its severity, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """The severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One finding about a subject (computer, map, camera ...); unless it is ok the text says what to do."""

    level: Level
    subject: str
    text: str
