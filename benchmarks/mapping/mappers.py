"""Incremental against global mapping: time, images registered, and the error of their positions.

Run: python -m benchmarks.mapping.mappers --data ../shared/data --markdown results/map_size.md

One thread; times are processor times of verification and mapping, without features and matches. Films are matched by
nearest descriptors with a ratio test, photos by the default matcher. Errors are those of positions after alignment to
the truth, of every model for itself; those of lund are against the photos' GPS. "Global, whole" are the models as
COLMAP gives them; "global" those that the package makes of them, cut where verified matches do not hold them together.
The default of ``reconstruction.global_from`` rests on these figures. The table is written after every scene.
"""

import argparse
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.mapping.scenes import Scene, film, office, photos, rounds_of_a_room, simulated_loop
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array, umeyama
from visloc_ros.evaluation.machine import provenance
from visloc_ros.mapping import mappers
from visloc_ros.mapping.components import Component
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.reconstruction import reconstruct_components
from visloc_ros.mapping.sfm_database import registered_poses
from visloc_ros.sources import SourceConfig

WHOLE = "global, whole"
MAPPERS = ("incremental", WHOLE, "global")
HEADER = (
    "scene",
    "mapper",
    "time",
    "images registered",
    "of each model",
    "median error",
    "largest error",
    "track length",
)


def main() -> None:
    """Map every scene with both mappers, and write the table."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.ERROR)
    rows: list[Figures] = []
    makers = scenes(arguments.data, arguments.loops)
    for name in arguments.only or makers:
        scene = makers[name]()
        for mapper in MAPPERS:
            rows.append(measure(scene, mapper))
            print(table_row(rows[-1]), flush=True)
        body = table(HEADER, map(table_row, rows))
        write_outputs(arguments, "Incremental and global mapping", {**provenance(), "rows": rows}, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder of the real sequences; without it only simulated scenes")
    parser.add_argument("--loops", type=int, nargs="*", default=[100, 200, 400], help="images of the simulated loops")
    parser.add_argument("--only", nargs="+", metavar="SCENE", help="scenes to map, as kitchen50, lund, office, room1")
    add_outputs(parser)
    return parser.parse_args()


def scenes(data: Path | None, loops: Sequence[int]) -> dict[str, Callable[[], Scene]]:
    """What makes each scene, by a short name."""
    found: dict[str, Callable[[], Scene]] = {}
    if data:
        drive, flight, kitchen = (data / name for name in ("kitti_00_small", "euroc_mh05", "7scenes_redkitchen"))
        found = {
            "sacre_coeur": lambda: photos("sacre_coeur", data / "sacre_coeur"),
            "lund": lambda: photos("lund", data / "street_lund"),
            "drive": lambda: film("drive, 200 images", drive, SourceConfig(every=2, last=399)),
            "euroc": lambda: film("euroc, 100 images", flight, SourceConfig(every=4)),
            "kitchen50": lambda: film("redkitchen, 50 images", kitchen, SourceConfig(every=10, last=499)),
            "kitchen250": lambda: film("redkitchen, 250 images", kitchen, SourceConfig(every=2, last=499)),
        }
    found["office"] = lambda: office(300)
    found |= {f"room{seed}": partial(rounds_of_a_room, seed) for seed in (1, 2, 3)}
    return found | {f"loop{count}": partial(simulated_loop, count) for count in loops}


def measure(scene: Scene, mapper: str) -> Figures:
    """Map a scene; errors are those of positions."""
    config = ReconstructionConfig(mapper=mapper.split(",")[0], threads=1)
    uncut = patch.object(mappers, "_rigid_parts", lambda model, *_: [model]) if mapper == WHOLE else nullcontext()
    start = time.process_time()
    try:
        with uncut:
            components = reconstruct_components(scene.views, scene.matches, config)
    except MapError:
        components = []
    seconds = time.process_time() - start
    errors = np.concatenate([np.empty(0), *(position_errors(scene, one) for one in components)])
    return {
        "scene": scene.name,
        "mapper": mapper,
        "seconds": seconds,
        "registered": len({name for one in components for name in registered_poses(one.model)}),
        "images": len(scene.views),
        "models": [one.size[0] for one in components],
        "median_error_m": float(np.median(errors)) if len(errors) else None,
        "max_error_m": float(errors.max()) if len(errors) else None,
        "track_length": float(components[0].model.compute_mean_track_length()) if components else None,
    }


def position_errors(scene: Scene, component: Component) -> Array:
    """Errors (N,) in metres of a model's images with known positions, after alignment; none of fewer than three."""
    poses = registered_poses(component.model)
    names = [name for name in poses if name in scene.truth]
    if len(names) < 3:
        return np.empty(0)
    found, true = np.array([poses[name].translation for name in names]), np.array([scene.truth[name] for name in names])
    return np.asarray(np.linalg.norm(umeyama(true, found) @ found - true, axis=1))


def table_row(row: Figures) -> list[str]:
    """One map's figures as text."""
    errors = [row["median_error_m"], row["max_error_m"]]
    return [
        row["scene"],
        row["mapper"],
        f"{row['seconds']:.1f} s",
        f"{row['registered']} of {row['images']}",
        " + ".join(map(str, row["models"])),
        *("" if error is None else f"{100 * error:.2f} cm" for error in errors),
        "" if row["track_length"] is None else f"{row['track_length']:.1f}",
    ]


if __name__ == "__main__":
    main()
