"""Fits ``coverage.GEO_RECALL``, the expected recall of photos in a street, and compares it in other streets.

Run: OMP_NUM_THREADS=1 python -m plugins.visloc_geo.benchmarks.coverage --data ../shared/data \\
         --markdown plugins/visloc_geo/results/geolocation.md

Photos are searched among all views of a street and among parts of them. The model is fitted to one rendered street;
another one and the street in Lund, whose views were registered, played no part. Databases, features, matches and
trials are kept in the work folder.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from benchmarks.calibration import compared
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import write_outputs
from plugins.visloc_geo.benchmarks.coverage_trials import FITTED, HELD_OUT, database_of, trials
from visloc_geo.coverage import GEO_RECALL, PHOTO, placed_views, points_of_views
from visloc_ros.localization.coverage import view_rotation
from visloc_ros.localization.seen_points import Support

SECTION = "Where photos are located"


def main() -> None:
    """Search all photos, fit the model, and write how well it holds."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/geo_coverage", "databases, features, matches and trials")
    add_outputs(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    judged = {name: list(judge(name, arguments.data, arguments.work)) for name in (*FITTED, *HELD_OUT)}
    what = (
        "Photos were searched among all views of a street, and among parts of them: found is a pose within 5 m and 10 "
        "degrees."
    )
    report, body = compared(GEO_RECALL, judged, FITTED, what, by_spread=False)
    write_outputs(arguments, SECTION, report, body)


def judge(place: str, data: Path, work: Path) -> Iterator[tuple[Support, bool]]:
    """What each photo recognises of the views that it was searched among, and whether it was found."""
    views = {view.name: view for view in placed_views(database_of(place, data, work))}
    for part, some in groupby(trials(place, data, work), key=lambda trial: trial.views):
        seen = points_of_views([views[name] for name in part if name in views])
        for trial in some:
            at = np.array([*trial.east_north_up[:2], 0.0])
            around = seen.around(at, PHOTO.focal_px)
            yield around.support(view_rotation(trial.heading_deg), PHOTO), trial.is_found


if __name__ == "__main__":
    main()
