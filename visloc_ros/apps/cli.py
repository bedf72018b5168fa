"""The ``visloc`` command: one subcommand a job, one line for a user's error, exit code 1."""

from __future__ import annotations

import logging
import signal
import sys

import typer
from threadpoolctl import threadpool_limits

from visloc_ros import __version__
from visloc_ros.apps import (
    command_build_map,
    command_demo,
    command_evaluate,
    command_export_hloc,
    command_fetch_weights,
    command_import_hloc,
    command_localize,
    command_replay,
    command_run,
    command_simulate,
    command_track,
    command_up,
)
from visloc_ros.apps.console import console, error_console
from visloc_ros.core.errors import VislocError
from visloc_ros.core.memory import keep_freed_memory

app = typer.Typer(
    name="visloc",
    help="Find a camera in a prebuilt map, at camera rate, with or without ROS 2.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(command_demo.demo)
app.command("simulate")(command_simulate.simulate)
app.command("build-map")(command_build_map.build_map)
app.command("localize")(command_localize.localize)
app.command("track")(command_track.track)
app.command("run")(command_run.run)
app.command("replay")(command_replay.replay)
app.command("evaluate")(command_evaluate.evaluate)
app.command("export-hloc")(command_export_hloc.export_hloc_map)
app.command("import-hloc")(command_import_hloc.import_hloc_map)
app.command("up")(command_up.up)
app.command("fetch-weights")(command_fetch_weights.fetch_weights)


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        console.print(f"visloc {__version__}")
        raise typer.Exit


@app.callback()
def common(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show what the library logs."),
    version: bool = typer.Option(False, "--version", callback=show_version, is_eager=True, help="Show the version."),
) -> None:
    """Set up logging for every command."""
    threadpool_limits(1, "blas")  # the matrices are small: more threads only spin
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


def main() -> None:
    """Run the command line; errors that a user can mend are told in one line."""
    keep_freed_memory()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nodes are stopped and half a map is removed
    try:
        app()
    except VislocError as error:
        error_console.print(f"[bold red]error:[/bold red] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
