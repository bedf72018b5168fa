"""A bar of bytes while something is downloaded."""

from __future__ import annotations

from types import TracebackType

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from visloc_ros.apps.console import error_console


class DownloadLine:
    """A bar of bytes for one download; the ``DownloadBar`` of fetching."""

    def __init__(self, label: str) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn()
        hidden = not error_console.is_terminal
        self._progress = Progress(*columns, console=error_console, transient=True, disable=hidden)
        self._task = self._progress.add_task(label, total=None)

    def __enter__(self) -> DownloadLine:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @property
    def total(self) -> int:
        """Bytes to come."""
        return int(self._progress.tasks[0].total or 0)

    @total.setter
    def total(self, size: int) -> None:
        self._progress.update(self._task, total=size)

    def update(self, steps: int) -> None:
        """Count bytes that have arrived."""
        self._progress.advance(self._task, steps)

    def reset(self) -> None:
        """Begin again at zero."""
        self._progress.reset(self._task, total=self.total or None)

    def close(self) -> None:
        """Leave the bar as it is; it vanishes with the block."""
