"""``visloc geo``: where on the earth photos were taken, by geotagged views."""

from __future__ import annotations

import typer

from visloc_ros.apps import command_geo_pages as pages
from visloc_ros.apps import command_geo_tools as tools

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Find where on the earth photos were taken, by geotagged street views."""


app.command()(pages.preview)
app.command()(tools.metadata)
app.command()(pages.postview)
app.command()(tools.elevation)
app.command()(tools.panoramas)
