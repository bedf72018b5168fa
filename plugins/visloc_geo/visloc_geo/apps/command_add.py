"""``visloc geo add``: photos become views of a database."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from visloc_geo.adding import AddOptions, AddReport, add_photos
from visloc_geo.alike_views import match_alike_views
from visloc_geo.database import GeoDatabase
from visloc_geo.features import describe_globally
from visloc_geo.panoramas import CutConfig
from visloc_geo.photo_list import read_photo_list
from visloc_geo.stuck_compass import views_of_stuck_compass, words_of
from visloc_geo.tag_conflicts import tag_conflicts_of
from visloc_ros.apps.console import AsJson, StageBars, console, error_console, print_json
from visloc_ros.apps.engine_options import EngineChoice, takes_engine
from visloc_ros.apps.options import CameraFile
from visloc_ros.core.errors import GeoError
from visloc_ros.sources.camera_files import read_given_calibration

_SHOWN = 10  # photos left out for one reason


@takes_engine
def add(
    database: Annotated[Path, typer.Argument(help="Folder of the database, which is made if it is missing.")],
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.")],
    engine: EngineChoice,
    photo_list: Annotated[
        Path | None,
        typer.Option("--list", help="Lines 'name lat lng alt heading' of photos whose EXIF data lack them."),
    ] = None,
    camera: CameraFile = "",
    panoramas: Annotated[
        bool, typer.Option("--panoramas", help="All are equirectangular panoramas, also those that do not say so.")
    ] = False,
    n_directions: Annotated[int, typer.Option("--n_directions", "--n-directions", help="Views of a panorama.")] = 8,
    fov: Annotated[float, typer.Option(help="Field of view of a panorama's views, in degrees.")] = 90.0,
    size: Annotated[int, typer.Option(help="Width and height of a panorama's views, in pixels.")] = 640,
    features: Annotated[
        bool, typer.Option("--features/--no-features", help="Compute local features and global descriptors as well.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Add photos with their positions and headings to a database of geotagged views, which grows at any time.

    Example: visloc geo add streets DCIM/
    """
    calibration = read_given_calibration(camera)
    options = AddOptions(
        read_photo_list(photo_list) if photo_list else {},
        None if calibration is None else calibration.camera,
        panoramas,
        CutConfig(n_directions, fov, size),
    )
    views = GeoDatabase.create(database)
    with StageBars() as bars:
        report = add_photos(views, photos, options, bars)
        if features:
            with engine.open_if_given() as workers:
                describe_globally(views, progress=bars, engine=workers)
            match_alike_views(views, progress=bars)
    if stuck := views_of_stuck_compass(views):
        error_console.print(words_of(stuck), style="yellow", highlight=False, soft_wrap=True)
    if conflicts := tag_conflicts_of(views):
        error_console.print(str(conflicts), style="yellow", highlight=False, soft_wrap=True)
    if as_json:
        of_tags = {
            "wrong_tags": list(conflicts.wrong),
            "doubtful_tags": list(conflicts.doubtful),
            "doubtful_altitudes": list(conflicts.heights),
        }
        print_json({"database": str(database), "num_views": len(views.names), **asdict(report), **of_tags})
    else:
        _print(report, len(views.names))
    if report.left_out and not report.added + report.corrected and not report.num_known:
        raise GeoError(f"none of the photos was added: {next(iter(report.left_out.values()))}")


def _print(report: AddReport, num_views: int) -> None:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, reason in report.left_out.items():
        by_reason[reason].append(name)
    for reason, names in by_reason.items():
        more = f" and {len(names) - _SHOWN} more (--json names all)" if len(names) > _SHOWN else ""
        console.print(f"left out {', '.join(names[:_SHOWN])}{more}: {reason}", highlight=False, soft_wrap=True)
    known = f", {report.num_known} photos were there already" if report.num_known else ""
    known += f", {len(report.corrected)} have another position now" if report.corrected else ""
    console.print(f"{len(report.added)} views added{known}; the database has {num_views}", highlight=False)
