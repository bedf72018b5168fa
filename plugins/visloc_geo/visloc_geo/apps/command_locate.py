"""``visloc geo locate``: where photos were taken, one line a photo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from visloc_geo.answer import GeoAnswer, degrees_of
from visloc_geo.apps.photos import open_photos
from visloc_geo.config import GeoConfig
from visloc_geo.database import GeoDatabase
from visloc_geo.localizer import GeoLocalizer
from visloc_geo.map_page import Ellipse, Kind, Line, Marker, write_map_page
from visloc_geo.sequence import TrackPose
from visloc_geo.solving.types import GeoKind, PhotoPose
from visloc_geo.walk import Track, Walk, why_no_track
from visloc_ros.apps.console import AsJson, StageBars, console, error_console, print_camera, print_json
from visloc_ros.apps.options import ConfigFile, takes_source_config
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.core.config import read_config
from visloc_ros.core.map_layout import VLAD
from visloc_ros.core.types import Rejection
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.evaluation.machine import provenance
from visloc_ros.sources import SourceConfig

_SHOWN = 10  # views with wrong headings

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
    together: Annotated[
        bool,
        typer.Option("--together", help="The photos are of one walk; frames of a video or bag always are."),
    ] = False,
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
    groups = open_photos(photos, source_config, together)
    localizer = GeoLocalizer(views, read_config(GeoConfig, config), descriptor_type)
    answers: list[GeoAnswer] = []
    tracks: dict[str, Track | Rejection] = {}
    try:
        for group in groups:
            walk = Walk(localizer)
            if group.is_film:
                print_camera(group.sources[0].calibration)
            for frame, tags in group:
                locate_one = walk.locate if group.walk else localizer.locate
                answers.append(locate_one(frame, tags if use_gps else None))
                console.print(describe(answers[-1]), highlight=False, soft_wrap=True)
            if group.walk:
                tracks[group.walk] = _locate_together(group.walk, walk)
    finally:  # a photo that cannot be read, or Ctrl-C, does not lose earlier answers
        console.print(f"located {sum(one.pose is not None for one in answers)} of {len(answers)} photos")
        _warn_of_headings(answers)
        if map_page is not None:
            draw_map(map_page, views, answers, _found(tracks), tiles)
        if as_json:
            print_json(figures(answers, tracks))


def _locate_together(name: str, walk: Walk) -> Track | Rejection:
    """The track of a walk, printed."""
    with StageBars() as bars:
        found = walk.track(bars)
    for line in describe_track(name, found):
        console.print(line, highlight=False, soft_wrap=True)
    return found


def _warn_of_headings(answers: Sequence[GeoAnswer]) -> None:
    wrong = sorted({name for one in answers if one.pose is not None for name in one.pose.wrong_headings})
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more (--json names all)" if len(wrong) > _SHOWN else ""
        error_console.print(
            f"left out headings of {len(wrong)} views, which contradict their positions or each other: "
            f"{', '.join(wrong[:_SHOWN])}{more}; 'visloc geo register' finds right ones",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )


def _found(tracks: Mapping[str, Track | Rejection]) -> dict[str, Track]:
    return {name: one for name, one in tracks.items() if isinstance(one, Track)}


def describe(answer: GeoAnswer) -> str:
    """One line about a photo: where it was taken and what that rests on, or why that is not known."""
    milliseconds = f"{sum(answer.stage_ms.values()):.0f} ms"
    if not isinstance(answer.result, PhotoPose):
        return f"{answer.name}  {answer.result}  {milliseconds}"
    pose = answer.result
    rests = f"{len(pose.inliers)} inliers in {len(pose.references)} views"
    line = f"{answer.name}  {_place_in_words(answer.frame, pose)}"
    return f"{line}  {rests if pose.kind is GeoKind.SOLVED else f'as its view {pose.best_tag.view}'}  {milliseconds}"


def describe_track(name: str, track: Track | Rejection) -> Iterator[str]:
    """Lines about photos that were located together, or one about why they could not be."""
    if isinstance(track, Rejection):
        yield f"no track of {name}: {track}: {why_no_track(track)}"
        return
    yield f"track of {name}: {len(track.photos)} photos, {track.num_own} of them by their own answers"
    for answer, pose in track.photos:
        is_contradicted = answer.pose is not None and answer.pose.kind is GeoKind.SOLVED
        others = "by the others, which contradict its own answer" if is_contradicted else "by the others"
        own = "by its own answer" if pose.has_answer else others
        yield f"{answer.name}  {_place_in_words(track.frame, pose)}  {own}"


def _place_in_words(frame: EnuFrame, pose: PhotoPose | TrackPose) -> str:
    latitude, longitude, _ = degrees_of(frame, pose.position)
    line = f"{latitude:.6f} {longitude:.6f}  sigma {pose.horizontal_sigma_m:.1f} m"
    if pose.angles_deg is None or pose.heading_sigma_deg is None:
        return line
    return f"{line}  heading {pose.angles_deg[0]:.1f} deg, sigma {pose.heading_sigma_deg:.1f}"


def figures(answers: Sequence[GeoAnswer], tracks: Mapping[str, Track | Rejection]) -> dict[str, Any]:
    """All photos together, each, and the tracks of walks by their names."""
    reasons = [one.result.reason.value for one in answers if not isinstance(one.result, PhotoPose)]
    return {
        "photos": len(answers),
        "located": len(answers) - len(reasons),
        "rejected": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        "answers": [one.to_mapping() for one in answers],
        "tracks": {name: _track_figures(one) for name, one in tracks.items()},
    } | provenance()


def _track_figures(track: Track | Rejection) -> dict[str, Any]:
    if isinstance(track, Track):
        return {"success": True, **track.to_mapping()}
    return {
        "success": False,
        "reason": track.reason.value,
        "text": why_no_track(track),
        "counts": dict(track.counts),
    }


def draw_map(
    path: Path,
    database: GeoDatabase,
    answers: Sequence[GeoAnswer],
    tracks: Mapping[str, Track] | None = None,
    tiles: bool = False,
) -> None:
    """Write a page with the views, the answers and the tracks. Raises OutputError, GeoError."""
    markers, ellipses, lines = [], [], []
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
    for name, track in (tracks or {}).items():
        lines.append(Line(track.places, name, Kind.TRACK))
        for (answer, pose), place in zip(track.photos, track.places, strict=True):
            text = f"{answer.name}  {_place_in_words(track.frame, pose)}"
            markers.append(Marker(*place, text, Kind.TRACK, pose.angles_deg and pose.angles_deg[0]))
    write_map_page(path, markers, lines, ellipses, tiles=tiles)
