"""A map that is updated every week against the one that never is, in a room that changes every week.

Run: OMP_NUM_THREADS=1 python -m benchmarks.mapping.weeks --markdown results/map_updates.md

Every week a share of all things and surfaces of a simulated room are replaced. One walk updates the map, the 51 images
of another one are searched in both maps every other week. No setting was chosen by these rooms. Then walks that must be
refused: through a mirrored room with the same pictures, and with a wrong focal length. Walks, maps and figures of each
week are kept in the work folder, so that a run continues.
"""

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pycolmap

from benchmarks.places import known_truth, true_pose
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, read_json, table, write_json, write_outputs
from testing.look_alike import make_look_alike
from testing.redecorated import refurnish
from visloc_ros.core.geometry import Array
from visloc_ros.core.map import open_map
from visloc_ros.core.map_versions import list_versions, roll_back
from visloc_ros.core.types import AnchorPose
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.metrics import pose_errors
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.mapping.update.report import UpdateRefusedError
from visloc_ros.mapping.update.updater import update_map
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.simulation.room import Room
from visloc_ros.sources import FrameSource, SourceConfig, open_source
from visloc_ros.sources.camera_files import write_camera_yaml
from visloc_ros.sources.pose_files import read_poses

SECTION = "Weeks in rooms that change"
CAMERA = SimulationConfig(width=480, height=360, focal_px=360.0, light="day")
MAP_HZ, UPDATE_HZ, SEARCH_HZ = 2.0, 1.5, 1.7
SEARCHED_EVERY = 2  # weeks
WITHIN_M = 0.05
HEADER = ("room", "week", "static: within 5 cm", "median cm", "updated: within 5 cm", "median cm", "images", "size")
SUMMARY_HEADER = (
    "room", "static, last week", "updated, worst week", "updated, all weeks", "median error, worst week / week 0",
    "largest size", "processor seconds an update",
)  # fmt: skip


def main() -> None:
    """Measure all rooms, and write the table."""
    arguments = parse_arguments()
    rooms = {seed: weeks_of(arguments, seed) for seed in arguments.seeds}
    refused = {seed: wrong_weeks(arguments, seed) for seed in arguments.seeds}
    report = {**provenance(), "share": arguments.share, "rooms": rooms, "refused": refused}
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/weeks"), help="folder for maps and walks")
    parser.add_argument("--seeds", type=int, nargs="+", default=[611, 612, 613], help="rooms")
    parser.add_argument("--weeks", type=int, default=10, help="how many")
    parser.add_argument("--share", type=float, default=0.1, help="share of all things that change in a week")
    add_outputs(parser)
    return parser.parse_args()


def weeks_of(arguments: argparse.Namespace, seed: int) -> list[Figures]:
    """Figures of each week in one room; week 0 is the room as it was mapped."""
    room, weeks = make_living_room(seed), list[Figures]()
    for week in range(arguments.weeks + 1):
        room = refurnish(room, arguments.share, seed + 1000 * week) if week else room
        figures = folder_of(arguments, seed, week) / "figures.json"
        if not figures.exists():
            update = updated(arguments, seed, week, room) if week else {}
            write_json(figures, {"week": week, **update, **searched_week(arguments, seed, week, room)})
        weeks.append(read_json(figures))
        print(seed, weeks[-1], flush=True)
    return weeks


def folder_of(arguments: argparse.Namespace, seed: int, week: int) -> Path:
    """The folder of a week: its walks, the updated map, the figures."""
    return Path(arguments.work, f"{seed}_{arguments.share}", str(week))


def updated(arguments: argparse.Namespace, seed: int, week: int, room: Room) -> Figures:
    """Update the map of the week before, and say what that did."""
    folder = folder_of(arguments, seed, week)
    walk, living = rendered(folder / "update", room, "localize", UPDATE_HZ, week), folder / "living"
    shutil.rmtree(living, ignore_errors=True)
    shutil.copytree(folder_of(arguments, seed, week - 1) / "living", living)
    start = time.process_time()
    report = update_map(living, open_source(walk))
    return {"processor_s": time.process_time() - start, "update": str(report)}


def searched_week(arguments: argparse.Namespace, seed: int, week: int, room: Room) -> Figures:
    """How both maps fare in a week, and the size of the living one; nothing in weeks that are left out."""
    static, living = (folder_of(arguments, seed, of) / "living" for of in (0, week))
    build(static, folder_of(arguments, seed, 0) / "map", seed)
    if week % SEARCHED_EVERY:
        return {}
    walk = rendered(folder_of(arguments, seed, week) / "search", room, "map", SEARCH_HZ, week)
    found = searched(walk, *dict.fromkeys((static, living)))
    size = own_bytes(living) / own_bytes(static)
    return {"static": found[0], "updated": found[-1], "images": len(open_map(living).images), "size": size}


def build(path: Path, walk: Path, seed: int) -> None:
    """Build the map of a room at true poses if missing."""
    if not path.exists():
        rendered(walk, make_living_room(seed), "map", MAP_HZ, 0)
        build_map(open_source(walk), path, MappingConfig(), reference_poses=read_poses(walk / "groundtruth_tum.txt"))


def rendered(folder: Path, room: Room, pass_name: str, rate_hz: float, noise: int) -> Path:
    """A walk through a room, rendered if missing."""
    if not folder.exists():
        write_folder(simulate(replace(CAMERA, rate_hz=rate_hz, seed=noise), pass_name, room), folder)
    return folder


def searched(walk: Path, *map_paths: Path) -> list[Figures]:
    """Of each map, images within 5 cm, of how many, and the median error in metres of all that were found."""
    return [_figures(errors[:, 0]) for errors in errors_of(open_source(walk), *map_paths)]


def errors_of(frames: FrameSource, *map_paths: Path) -> list[Array]:
    """Search all images in all maps, by the same features; gives errors (N, 2) in metres and degrees for each map."""
    first, *others = (open_map(path) for path in map_paths)
    engines = [AnchorEngine(first, AnchorConfig(), most_turns=1)]
    shared = engines[0].extractor, engines[0].matcher
    engines += [AnchorEngine(other, AnchorConfig(), *shared, most_turns=1) for other in others]
    answers = [[engine.solve(query) for engine in engines] for query in map(engines[0].extract, frames)]
    truth = known_truth(frames)
    true_poses = [true_pose(truth, of_image[0].stamp_ns) for of_image in answers]
    poses = [
        [one.map_from_camera if isinstance(one, AnchorPose) else None for one in of_map]
        for of_map in zip(*answers, strict=True)
    ]
    return [pose_errors(of_map, true_poses) for of_map in poses]


def _figures(errors_m: Array) -> Figures:
    found = errors_m[np.isfinite(errors_m)]
    return {
        "images": len(errors_m),
        "found": len(found),
        "within": int(np.sum(found <= WITHIN_M)),
        "median_m": float(np.median(found)) if len(found) else None,
    }


def own_bytes(path: Path) -> int:
    """Bytes of a map's own files."""
    return sum(info.size for info in open_map(path, checksums=False).manifest.files.values())


def with_wrong_focal_length(walk: Path, error: float) -> FrameSource:
    """A walk with a calibration file whose focal length is wrong by a share."""
    camera = open_source(walk).camera
    params = camera.params.copy()
    params[:2] *= 1.0 + error
    wrong = pycolmap.Camera(model=camera.model_name, width=camera.width, height=camera.height, params=params)
    write_camera_yaml(walk / "wrong.yaml", wrong)
    return open_source(walk, SourceConfig(camera=str(walk / "wrong.yaml")))


def wrong_weeks(arguments: argparse.Namespace, seed: int) -> Figures:
    """How the updated map takes walks that it must refuse, and whether its first version comes back to the byte."""
    folder, path = folder_of(arguments, seed, arguments.weeks), arguments.work / f"{seed}_wrong"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(folder / "living", path)
    other_room = make_look_alike(make_living_room(seed), seed + 50)
    other = rendered(folder / "look_alike", other_room, "localize", UPDATE_HZ, 0)
    own = rendered(folder / "own", make_living_room(seed), "localize", UPDATE_HZ, 0)
    walks: dict[str, FrameSource] = {"a look-alike room": open_source(other)}
    walks |= {f"focal length off by {share:.0%}": with_wrong_focal_length(own, share) for share in (0.03, 0.1)}
    refusals = {name: refusal(path, walk) for name, walk in walks.items()}
    oldest = list_versions(path)[0]
    files = {name: (oldest.folder / name).read_bytes() for name in oldest.manifest.files}
    roll_back(path, oldest.number)
    is_exact = all((path / name).read_bytes() == data for name, data in files.items())
    return {"refused": refusals, "rollback_exact": is_exact}


def refusal(path: Path, walk: FrameSource) -> str:
    """Why a map refuses to learn from a walk; empty where it does not."""
    try:
        update_map(path, walk)
    except UpdateRefusedError as error:
        return str(error)
    return ""


def as_markdown(report: Figures) -> str:
    """A row for each room and week, and what was refused."""
    rows = [
        [str(seed), str(week["week"]), *_cells(week["static"]), *_cells(week["updated"]), str(week["images"]),
         f"{week['size']:.2f}"]
        for seed, weeks in report["rooms"].items()
        for week in weeks
        if "size" in week
    ]  # fmt: skip
    refused = [
        f"- room {seed}: "
        + "; ".join(f"{name}: {'refused' if words else 'LEARNED'}" for name, words in one["refused"].items())
        + f"; rollback exact to the byte: {'yes' if one['rollback_exact'] else 'NO'}"
        for seed, one in report["refused"].items()
    ]
    summary = [_summary(str(seed), weeks) for seed, weeks in report["rooms"].items()]
    what = f"{report['share']:.0%} of all things and surfaces are replaced every week. Size is that of the map's files."
    return "\n\n".join([what, table(SUMMARY_HEADER, summary), table(HEADER, rows), "\n".join(refused)])


def _summary(room: str, weeks: list[Figures]) -> list[str]:
    """How both maps fare in all weeks of a room; the first is the week in which it was mapped."""
    mapped, *later = (week for week in weeks if "size" in week)
    updated = [week["updated"] for week in later]
    within, images = (sum(one[key] for one in updated) for key in ("within", "images"))
    return [
        room,
        _recall(later[-1]["static"]),
        _recall(min(updated, key=lambda one: float(one["within"] / one["images"]))),
        f"{within} of {images} ({within / images:.1%})",
        f"{max(one['median_m'] for one in updated) / mapped['static']['median_m']:.2f}",
        f"{max(week['size'] for week in later):.2f}",
        f"{median(week['processor_s'] for week in weeks[1:]):.0f}",
    ]


def _recall(figures: Figures) -> str:
    return f"{figures['within']} of {figures['images']}"


def _cells(figures: Figures) -> list[str]:
    error = figures["median_m"]
    return [_recall(figures), "–" if error is None else f"{100 * error:.2f}"]


if __name__ == "__main__":
    main()
