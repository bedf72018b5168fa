"""Images in other light, from noisier sensors and out of focus, searched in a map of the place in all ways.

Run: OMP_NUM_THREADS=1 python -m plugins.visloc_search.benchmarks.instances.style --data ../shared/data \\
         --markdown plugins/visloc_search/results/instances.md

Images of a real place and of a room, by which settings may have been chosen, and of two others are altered at three
levels; rooms are also rendered at night, and searched in a map with other places as well. Features are those of the
altered image. Maps and rooms are kept in the work folder.
"""

import argparse
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, write_outputs
from plugins.visloc_search.benchmarks.instances.alterations import ALTERATIONS, COLOUR, LEVELS, NIGHT
from plugins.visloc_search.benchmarks.instances.rooms import StyledPlace, images_of, styled_places
from plugins.visloc_search.benchmarks.instances.style_tables import as_markdown, draw
from plugins.visloc_search.benchmarks.instances.ways import add_ways, engines_of, search_images
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame
from visloc_ros.evaluation.machine import provenance

SECTION = "Altered images"


def main() -> None:
    """Measure all places, and write the tables."""
    arguments = parse_arguments()
    places = [one.place for one in styled_places(arguments.data, arguments.work)]
    chosen = [row for row, place in enumerate(places) if not arguments.only or place.name in arguments.only]
    for row in chosen:
        places[row].open_map(arguments.work / "maps")  # before two processes need the same one
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        measured = pool.map(partial(measure_place, arguments=arguments), chosen)
        report = {**provenance(), "places": dict(zip((places[row].name for row in chosen), measured, strict=True))}
    body = as_markdown(report)
    if arguments.plot:
        arguments.plot.parent.mkdir(parents=True, exist_ok=True)
        arguments.plot.write_bytes(draw(report))
        body += f"\n\n![recall by the level of an alteration]({arguments.plot.name})"
    write_outputs(arguments, SECTION, report, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/instances", "maps and rooms")
    parser.add_argument("--only", nargs="*", help="places: redkitchen, euroc, room_601, 'building of room_601', ...")
    parser.add_argument("--every", type=int, default=1, help="alter every n-th image only")
    parser.add_argument("--processes", type=int, default=2, help="places searched at once")
    parser.add_argument("--plot", type=Path, help="PNG file for the picture of recalls")
    add_ways(parser)
    add_outputs(parser)
    return parser.parse_args()


def measure_place(row: int, arguments: argparse.Namespace) -> Figures:
    """Figures of all ways by alteration and level, from the images as they are, in a process of its own."""
    torch.set_num_threads(1)
    styled = styled_places(arguments.data, arguments.work)[row]
    engines = engines_of(styled.place, arguments.work, arguments.ways)
    unchanged = search_images(engines, images_of(styled.place, arguments.every))
    altered = {
        name: [search_images(engines, altered_images(styled, name, level, arguments.every)) for level in LEVELS]
        for name in alterations_of(styled)
    }
    return {"unseen": styled.unseen, "alterations": {name: [unchanged, *levels] for name, levels in altered.items()}}


def alterations_of(styled: StyledPlace) -> list[str]:
    """What images of a place can be altered by."""
    missing = {NIGHT: styled.night is None, COLOUR: not styled.has_colour}
    return [name for name in ALTERATIONS if not missing.get(name, False)]


def altered_images(styled: StyledPlace, name: str, level: int, every: int) -> Iterator[tuple[Frame, SE3]]:
    """The altered images with their true poses."""
    place = styled.place
    if name == NIGHT and styled.night is not None:
        place = replace(place, query_folder=styled.night)
    return ((ALTERATIONS[name](frame, level), truth) for frame, truth in images_of(place, every))


if __name__ == "__main__":
    main()
