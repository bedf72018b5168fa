"""Warnings of a run: one of a kind, and at its end how many more there were."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy

_Place = tuple[str, int]


class OneOfAKind(logging.Filter):
    """Passes the first warning of each line of code; the others are mostly of other frames. Same words count once."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[_Place, tuple[logging.LogRecord, set[str]]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        if record.levelno != logging.WARNING:
            return True
        first, words = self._kinds.setdefault((record.pathname, record.lineno), (record, set()))
        words.add(record.getMessage())
        return first is record

    def counts(self) -> Iterator[logging.LogRecord]:
        """For each kind that was not shown each time, its first warning with the number of the others."""
        for first, words in self._kinds.values():
            if len(words) > 1:
                record = copy(first)
                record.msg, record.args = "%s … and %d more like it", (first.getMessage(), len(words) - 1)
                yield record


@contextmanager
def one_of_a_kind() -> Iterator[None]:
    """Within the block the log shows one warning of a kind, and the number of the others at its end."""
    filters = [(handler, OneOfAKind()) for handler in logging.getLogger().handlers]
    for handler, one in filters:
        handler.addFilter(one)
    try:
        yield
    finally:
        for handler, one in filters:
            handler.removeFilter(one)
            for record in one.counts():
                handler.handle(record)
