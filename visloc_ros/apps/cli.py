"""The ``visloc`` command: one subcommand a job, one line for a user's error, exit code 1."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from difflib import get_close_matches
from typing import Any, NoReturn

import typer
from rich.text import Text
from threadpoolctl import threadpool_limits
from typer.core import TyperGroup

from visloc_ros import __version__
from visloc_ros.apps.aliases import find_alias, told_apart
from visloc_ros.apps.command_types import Alias
from visloc_ros.apps.commands import ListedCommand, all_commands, listed_commands
from visloc_ros.apps.console import console, error_console
from visloc_ros.apps.repeated_warnings import one_of_a_kind
from visloc_ros.core.errors import SetupError, VislocError
from visloc_ros.core.own_process import keep_freed_memory


class ImportedWhenRun(TyperGroup):
    """Commands that are imported only when run: help and completion list them without."""

    def __init__(self, **attributes: Any) -> None:
        commands = {name: ListedCommand(name, Alias(name)) for name in listed_commands()}
        super().__init__(**attributes | {"commands": commands})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read a command line; '~' is the home folder also where the shell leaves it: in quotes, and after '='."""
        return super().parse_args(ctx, [with_home(word) for word in args])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The line of a command in the list, by its name or an alias; None if there is none."""
        alias = find_alias(cmd_name)
        return ListedCommand(cmd_name, alias) if alias.in_list in all_commands() else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of a command line, imported; its options may distinguish commands of one name."""
        words = told_apart(args)
        if self.get_command(ctx, words[0]) is None and not get_close_matches(words[0], listed_commands()):
            ctx.fail(
                f"No such command '{words[0]}'. Is it one of a plug-in that is not installed? See docs/plugins.md."
            )
        name, listed, rest = super().resolve_command(ctx, words)
        return name, listed.load() if isinstance(listed, ListedCommand) else listed, rest


def with_home(word: str) -> str:
    """A word of the command line with '~/' at its start, or at that of an option's value, replaced."""
    return _HOME.sub(lambda found: f"{found[1]}{os.path.expanduser(found[2])}", word)


_HOME = re.compile(r"\A(--[^=]*=|-[a-zA-Z]|)(~.*)\Z", re.DOTALL)  # after an option of one word, or alone

app = typer.Typer(
    name="visloc",
    cls=ImportedWhenRun,
    help="Find a camera in a prebuilt map, at camera rate, with or without ROS 2.",
    epilog="A command that is missing here may be one of a plug-in that is not installed: see docs/plugins.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        console.print(f"visloc {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show what the library logs, and each warning."),
    version: bool = typer.Option(False, "--version", callback=show_version, is_eager=True, help="Show the version."),
) -> None:
    """Set up signals, threads and logging for every command."""
    # So that nodes are stopped and an unfinished map is removed. Set after the import of the command, since pycolmap
    # installs its own signal handlers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threadpool_limits(1, "blas")  # the matrices are small: more threads only spin
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    invoked = all_commands().get(find_alias(context.invoked_subcommand or "").command)
    if not verbose and not (invoked and invoked.is_lasting):
        context.with_resource(one_of_a_kind())


def main() -> None:
    """Run the command line; errors that a user can fix are reported in one line."""
    keep_freed_memory()
    try:
        app()
    except VislocError as error:
        fail(error)
    except OSError as error:  # of the system: a name too long, a disk that is full or gone
        logging.getLogger("visloc_ros").info("where it happened", exc_info=error)
        fail(SetupError(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"))


def fail(error: VislocError) -> NoReturn:
    """Report an error in one line, and end with exit code 1."""
    error_console.print(Text.assemble(("error:", "bold red"), f" {error}"), soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
