"""Fits ``mapping.coverage.ANCHOR_RECALL``, the expected recall of images in a map, and compares it in other places.

Run: python -m benchmarks.anchor.coverage --data ../shared/data --markdown results/anchor.md

Images are searched in maps of whole places and of parts of them, so that much or little of what they show is mapped.
The model is fitted to a simulated room and a kitchen; a room with other paint, a flight and a drive played no part.
Maps, features and trials are kept in the work folder.
"""

from pathlib import Path

import torch

from benchmarks.anchor.coverage_trials import FITTED, HELD_OUT, PARTS, Trial, part_of, searched_places, trials
from benchmarks.calibration import Judged, compared
from benchmarks.places import Place
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import write_outputs
from visloc_ros.localization.seen_points import SeenPoints, Support, ViewLimits
from visloc_ros.mapping.coverage import ANCHOR_RECALL, common_camera, mapped_views, observed_points

SECTION = "Where images are localized"


def main() -> None:
    """Search all images, fit the model, and write how well it holds."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/coverage", "maps, rooms, features and trials")
    add_outputs(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    places = {place.name: place for place in searched_places(arguments.data, arguments.work)}
    judged = {name: judge(places[name], arguments.work) for name in (*FITTED, *HELD_OUT)}
    held_out = sum(len(judged[name]) for name in HELD_OUT)
    what = (
        f"Images were searched in maps of whole places and of parts of them ({', '.join(PARTS)}), {held_out} in "
        "places to which the model was not fitted."
    )
    report, body = compared(ANCHOR_RECALL, judged, FITTED, what)
    write_outputs(arguments, SECTION, report, body)


def judge(place: Place, work: Path) -> Judged:
    """What each image recognises in its map, and whether it was found."""
    tried, whole = trials(place, work), place.open_map(work / "maps")
    judged = []
    for part in PARTS:
        map_ = part_of(whole, part)
        views = mapped_views(map_)
        seen = observed_points(map_.points, [view.map_from_camera for view in views], views)
        limits = ViewLimits.of(common_camera(views))
        for one in (one for one in tried if one.part == part):
            judged.append((support_of(one, seen, limits), one.is_found))
    return judged


def support_of(trial: Trial, seen: SeenPoints, limits: ViewLimits) -> Support:
    """What the image of a trial recognises."""
    pose = trial.pose
    return seen.around(pose.translation, limits.focal_px).support(pose.rotation, limits)


if __name__ == "__main__":
    main()
