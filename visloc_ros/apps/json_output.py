"""``--json``, the same for every command: its result on standard output, as JSON and nothing else.

Messages meanwhile go to standard error. Errors are reported there as usual, with exit code 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from visloc_ros.apps.console import console


def _put_words_aside(wanted: bool) -> bool:
    console.stderr = wanted
    return wanted


AsJson = Annotated[
    bool,
    typer.Option("--json", callback=_put_words_aside, help="Print the result as JSON; words go to standard error."),
]


def print_json(result: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print a result; paths become strings, and numbers that are not finite null."""
    typer.echo(json.dumps(_plain(result), indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
