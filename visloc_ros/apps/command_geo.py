"""``visloc geo``: where on the earth photos were taken, by geotagged views."""

from __future__ import annotations

import typer

from visloc_ros.apps.command_geo_locate import locate
from visloc_ros.apps.command_geo_register import register

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Find where on the earth photos were taken, by geotagged street views."""


app.command()(locate)
app.command()(register)
