"""``visloc geo locate``: where photos were taken, one line a photo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from visloc_ros.apps.console import AsJson, console, print_json
from visloc_ros.apps.options import ConfigFile, takes_source_config
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.core.config import read_config
from visloc_ros.core.map_layout import VLAD
from visloc_ros.core.types import Frame
from visloc_ros.evaluation.machine import provenance
from visloc_ros.geo.answer import GeoAnswer
from visloc_ros.geo.config import GeoConfig
from visloc_ros.geo.database import GeoDatabase
from visloc_ros.geo.localizer import GeoLocalizer
from visloc_ros.geo.map_page import Ellipse, Kind, Marker, write_map_page
from visloc_ros.geo.solving.types import GeoKind, PhotoPose
from visloc_ros.geo.view import Orientation, View
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.folder import FolderSource
from visloc_ros.sources.photo_tags import read_photo_tags

DatabaseArgument = Annotated[
    Path, typer.Argument(metavar="DATABASE", help="Folder of geotagged views.", show_default=False)
]


@takes_source_config
def locate(
    source_config: SourceConfig,
    database: DatabaseArgument,
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTOS...", help="Photos, folders of them, videos, or ROS 2 bags.")
    ],
    use_gps: Annotated[
        bool, typer.Option("--use-gps", help="Search first where the photo's own GPS tag and compass place it.")
    ] = False,
    map_page: Annotated[
        Path | None, typer.Option("--map", help="HTML page with a map of the answers; it works offline.")
    ] = None,
    tiles: Annotated[bool, typer.Option("--tiles", help="Show OpenStreetMap below the map, online.")] = False,
    descriptor_type: Annotated[str, typer.Option(help="Global descriptor that views are retrieved by.")] = VLAD,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Locate photos on the earth by geotagged views: a line each, failures too.

    Example: visloc geo locate streets photo.jpg --map answers.html
    """
    check_outputs(map_page)
    views = GeoDatabase(database)
    localizer = GeoLocalizer(views, read_config(GeoConfig, config), descriptor_type)
    answers: list[GeoAnswer] = []
    try:
        for frame, tags in _with_tags(photos, source_config):
            answers.append(localizer.locate(frame, tags if use_gps else None))
            console.print(describe(answers[-1]), highlight=False, soft_wrap=True)
    finally:  # a photo that cannot be read, or Ctrl-C, does not lose earlier answers
        console.print(f"located {sum(one.pose is not None for one in answers)} of {len(answers)} photos")
        if map_page is not None:
            draw_map(map_page, views, answers, tiles)
        if as_json:
            print_json(figures(answers))


def _with_tags(photos: Sequence[Path], config: SourceConfig) -> Iterator[tuple[Frame, View | None]]:
    """Frames, and where their own EXIF data place them."""
    for path in photos:
        source = open_source(path, config)
        files = {image.name: image.path for image in source.images} if isinstance(source, FolderSource) else {}
        for frame in source:
            yield frame, _tags_of(files[frame.name]) if frame.name in files else None


def _tags_of(path: Path) -> View:
    tags = read_photo_tags(path)
    looks = None
    if tags.direction is not None:
        looks = Orientation(tags.direction.heading_deg, sigma_deg=tags.direction.sigma_deg)
    return View(path.name, tags.position, looks)


def describe(answer: GeoAnswer) -> str:
    """One line about a photo: where it was taken and what that rests on, or why that is not known."""
    milliseconds = f"{sum(answer.stage_ms.values()):.0f} ms"
    if not isinstance(answer.result, PhotoPose):
        return f"{answer.name}  {answer.result}  {milliseconds}"
    pose, (latitude, longitude, _) = answer.result, answer.geodetic or (0.0, 0.0, 0.0)
    line = f"{answer.name}  {latitude:.6f} {longitude:.6f}  sigma {pose.horizontal_sigma_m:.1f} m"
    if pose.angles_deg is not None and pose.heading_sigma_deg is not None:
        line += f"  heading {pose.angles_deg[0]:.1f} deg, sigma {pose.heading_sigma_deg:.1f}"
    rests = f"{len(pose.inliers)} inliers in {len(pose.references)} views"
    return f"{line}  {rests if pose.kind is GeoKind.SOLVED else f'as its view {pose.best_tag.view}'}  {milliseconds}"


def figures(answers: Sequence[GeoAnswer]) -> dict[str, Any]:
    """All photos together, and each."""
    reasons = [one.result.reason.value for one in answers if not isinstance(one.result, PhotoPose)]
    return {
        "photos": len(answers),
        "located": len(answers) - len(reasons),
        "rejected": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        "answers": [one.to_mapping() for one in answers],
    } | provenance()


def draw_map(path: Path, database: GeoDatabase, answers: Sequence[GeoAnswer], tiles: bool = False) -> None:
    """Write a page with the views and the answers. Raises OutputError, GeoError."""
    markers, ellipses = [], []
    for view in database:
        if view.position is not None:
            heading = None if view.orientation is None else view.orientation.heading_deg
            markers.append(Marker(view.position.latitude, view.position.longitude, view.name, Kind.VIEW, heading))
    for answer in answers:
        if answer.pose is not None and answer.geodetic is not None:
            latitude, longitude, _ = answer.geodetic
            heading = None if answer.pose.angles_deg is None else answer.pose.angles_deg[0]
            markers.append(Marker(latitude, longitude, describe(answer), Kind.ESTIMATE, heading))
            ellipses.append(Ellipse(latitude, longitude, answer.pose.covariance[:2, :2], answer.name))
    write_map_page(path, markers, ellipses=ellipses, tiles=tiles)
