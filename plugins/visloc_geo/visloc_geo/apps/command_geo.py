"""``visloc geo``: databases of geotagged views, and photos that are located by them."""

from __future__ import annotations

import typer

from visloc_geo.apps.command_add import add
from visloc_geo.apps.command_coverage import coverage
from visloc_geo.apps.command_descriptors import global_descriptors, local_descriptors
from visloc_geo.apps.command_experiment import experiment
from visloc_geo.apps.command_locate import locate
from visloc_geo.apps.command_pages import postview, preview
from visloc_geo.apps.command_register import register
from visloc_geo.apps.command_remove import remove
from visloc_geo.apps.command_tools import elevation, metadata, panoramas

app = typer.Typer(no_args_is_help=True, help="Find where on the earth photos were taken, by geotagged street views.")

app.command()(locate)
app.command()(experiment)
app.command()(coverage)
app.command()(add)
app.command()(register)
app.command()(remove)
app.command()(preview)
app.command()(metadata)
app.command()(postview)
app.command()(elevation)
app.command()(panoramas)
app.command()(local_descriptors)
app.command()(global_descriptors)
