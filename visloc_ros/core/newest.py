"""A queue of one item between two threads, in which a newer item replaces the one that waits."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class Newest(Generic[ItemT]):
    """A slot between two threads; what is not taken in time is dropped and counted."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: tuple[int, ItemT] | None = None
        self._is_ended = self._is_closed = False
        self.received = 0
        self.dropped = 0

    def put(self, item: ItemT) -> None:
        """Put an item; never waits."""
        with self._changed:
            self.dropped += self._waiting is not None
            self._waiting = self.received, item
            self.received += 1
            self._changed.notify_all()

    def take(self) -> tuple[int, ItemT] | None:
        """Wait for the newest item, and give its number, from 0, and the item; None after the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_ended or self._waiting is not None)
            taken, self._waiting = self._waiting, None
            return None if self._is_closed else taken

    def end(self) -> None:
        """End the queue; an item that waits is given before the end."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """End at once, and drop an item that waits."""
        with self._changed:
            self._is_ended = self._is_closed = True
            self._changed.notify_all()
