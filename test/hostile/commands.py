"""Commands run in this process, which has imported long ago what they need."""

import contextlib
import io
import sys
from dataclasses import dataclass
from unittest import mock

from visloc_ros.apps import cli


@dataclass
class Ended:
    """How a command ended, and the last line of what it said of an error."""

    code: int
    said: str
    error: str

    def assert_in_words(self):
        """Success, or an error in one line; 2 is typer's own about options, in a frame."""
        assert self.code in (0, 1, 2), (self.code, self.error)
        assert "Traceback" not in self.error, self.error
        if self.code == 1:
            last = self.error.strip().splitlines()[-1]
            assert last.startswith("error:"), self.error[-2000:]
            assert len(last) < 1500, last[:2000]


def visloc(*arguments):
    """Run a command."""
    said, error = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, "argv", ["visloc", *map(str, arguments)]))
        stack.enter_context(mock.patch.object(cli, "keep_freed_memory"))  # that is the whole process's
        stack.enter_context(contextlib.redirect_stdout(said))
        stack.enter_context(contextlib.redirect_stderr(error))
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    return Ended(code, said.getvalue(), error.getvalue())
