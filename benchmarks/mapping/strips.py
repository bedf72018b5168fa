"""Maps of strips that a drone flies there and back, over ground with roofs: how many are right.

Run: OMP_NUM_THREADS=1 python -m benchmarks.mapping.strips --markdown results/map_size.md

Three sites of 36 x 12 m are rendered, and filmed with 16, 20, 24 and 30 images from 12 m: along one side and back along
the other, straight down and at 60 degrees. Each map is built as ``visloc build-map`` does it. A strip that could not be
joined is a map beside it, or left out. Errors are those of positions after alignment to the truth, and of rotations
from their mean, of all images of the worst of these maps; it is right where none is above 2 % of the extent and 3
degrees. Two or three images fit any truth: they are not judged.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pycolmap

from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.geometry import SE3, Array, nearest_rotation, rotation_angle_deg, umeyama
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.trajectory import write_tum
from visloc_ros.core.types import Image
from visloc_ros.evaluation.machine import provenance
from visloc_ros.simulation.painter import Painter
from visloc_ros.simulation.pictures import mosaic, shapes
from visloc_ros.simulation.render import Renderer
from visloc_ros.simulation.room import Quad, Room
from visloc_ros.simulation.textures import Rng, bricks, finish, fractal, planks, plaster, texels, tint
from visloc_ros.sources.camera_files import write_camera_yaml
from visloc_ros.sources.ros_images import encode_jpeg

SITES, COUNTS, PITCHES_DEG = (0, 1, 2), (16, 20, 24, 30), (90, 60)
LENGTH_M, WIDTH_M, HEIGHT_M = 36.0, 12.0, 12.0
RIGHT, RIGHT_DEG = 0.02, 3.0  # largest errors of a right map, the first as a share of the extent
LEAST_JUDGED = 4
CAMERA = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500.0, 500.0, 320.0, 240.0])
HEADER = ("site", "images", "camera", "in maps", "rmse m", "largest m", "largest °", "up off by", "verdict")

_MARGIN_M, _PIECE_M, _DENSITY = 16.0, 8.0, 50.0
_ROOFS = 14
_SECOND_NS = 1_000_000_000


def main() -> None:
    """Fly over every site, build every map, and write the table after each."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/strips"), help="folder for images and maps")
    parser.add_argument("--sites", type=int, nargs="+", default=list(SITES))
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--pitches", type=int, nargs="+", default=list(PITCHES_DEG))
    add_outputs(parser)
    arguments = parser.parse_args()
    rows: list[Figures] = []
    for site in arguments.sites:
        renderer = Renderer(make_site(site), CAMERA)
        for count in arguments.counts:
            for pitch_deg in arguments.pitches:
                folder = arguments.work / f"site{site}_{count}_{pitch_deg}"
                flown = {"site": site, "images": count, "pitch_deg": pitch_deg}
                rows.append(flown | measure(folder, renderer, count, pitch_deg))
                print(rows[-1], flush=True)
                body = table(HEADER, list(table_rows(rows)))
                write_outputs(arguments, "Strips there and back", {**provenance(), "rows": rows}, body)


def make_site(seed: int) -> Room:
    """Ground with paths and patches, and houses on it, every surface painted from the seed."""
    paint, rng = Painter(seed, _DENSITY), np.random.default_rng([seed, 7])
    quads: list[Quad] = []
    for x in np.arange(-_MARGIN_M, LENGTH_M + _MARGIN_M, _PIECE_M):
        for y in np.arange(-_MARGIN_M, WIDTH_M + _MARGIN_M, _PIECE_M):
            centre = [x + 0.5 * _PIECE_M, y + 0.5 * _PIECE_M, 0.0]
            quads.append(paint.panel(f"ground {x:g} {y:g}", centre, [0, 0, 1], [0, 1, 0], (_PIECE_M, _PIECE_M), _grass))
    tops = (bricks, planks((150, 96, 70)), plaster((170, 170, 176)), mosaic, shapes)
    for number in range(_ROOFS):
        foot = [rng.uniform(-3.0, LENGTH_M + 3.0), rng.uniform(-3.0, WIDTH_M + 3.0), 0.0]
        size = (rng.uniform(2.0, 5.0), rng.uniform(2.0, 4.0), rng.uniform(1.5, 3.5))
        top = tops[int(rng.integers(len(tops)))]
        quads += paint.box(f"house {number}", foot, size, top, yaw_deg=float(rng.uniform(0.0, 90.0)))
    return Room(tuple(quads))


def _grass(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    shape = texels(width_m, height_m, density)
    light, colour = (fractal(rng, shape, 90, 6, 0.85), (22, 20, 14)), (fractal(rng, shape, 30, 4), (9, 4, 9))
    return finish(tint((96, 112, 70), light, colour))


def flight(count: int, pitch_deg: float) -> list[SE3]:
    """Poses ``map_from_camera`` along one side of the site and back along the other, looking down by ``pitch_deg``."""
    there = np.linspace(0.0, LENGTH_M, count // 2)
    sides = (0.25 * WIDTH_M, 0.75 * WIDTH_M)
    places = [(x, sides[0], 1.0) for x in there] + [(x, sides[1], -1.0) for x in there[::-1]]
    return [_looking(np.array([x, y, HEIGHT_M]), heading, np.radians(pitch_deg)) for x, y, heading in places]


def _looking(position: Array, heading: float, pitch: float) -> SE3:
    forward = np.array([heading * np.cos(pitch), 0.0, -np.sin(pitch)])
    right = np.array([0.0, -heading, 0.0])
    return SE3(np.column_stack([right, np.cross(forward, right), forward]), position)


def measure(folder: Path, renderer: Renderer, count: int, pitch_deg: int) -> Figures:
    """Build a map of a flight and compare it with the truth; what the build says where it refuses."""
    poses = flight(count, pitch_deg)
    stamps = [(1 + number) * _SECOND_NS for number in range(count)]
    if not (folder / "rgb").exists():
        (folder / "rgb").mkdir(parents=True)
        for stamp_ns, pose in zip(stamps, poses, strict=True):
            image = np.clip(renderer.render(pose), 0, 255).astype(np.uint8)
            (folder / "rgb" / f"{stamp_ns}.jpg").write_bytes(encode_jpeg(image))
        write_tum(folder / "groundtruth_tum.txt", stamps, poses)
        write_camera_yaml(folder / "camera.yaml", CAMERA)
    command = [sys.executable, "-m", "visloc_ros.apps.cli", "build-map", folder, "-o", folder / "map", "--overwrite"]
    built = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if built.returncode:
        return {"refused": built.stderr.strip().splitlines()[-1]}
    truth = {f"{stamp_ns}": pose for stamp_ns, pose in zip(stamps, poses, strict=True)}
    maps = [open_map(one) for one in sorted(folder.glob("map*"))]
    compared = [compare(one, truth) for one in maps if len(one.images) >= LEAST_JUDGED]
    joined: Figures = {"joined": [len(one.images) for one in maps]}
    if not compared:
        return joined
    worst = max(compared, key=lambda one: float(one["largest_m"]))
    return joined | worst | {"is_right": all(one["is_right"] for one in compared)}


def compare(map_: Map, truth: dict[str, SE3]) -> Figures:
    """Errors of a map's images, and of its z axis where the map says that it points up."""
    true = [truth[Path(image.name).stem] for image in map_.images]
    places = np.array([pose.translation for pose in true])
    found = map_.camera_positions
    truth_from_map = umeyama(places, found)
    errors = np.linalg.norm(truth_from_map @ found - places, axis=1)
    turns = [pose.rotation @ image.map_from_camera.rotation.T for pose, image in zip(true, map_.images, strict=True)]
    mean = nearest_rotation(np.mean(turns, axis=0))
    turned_deg = max(rotation_angle_deg(mean, turn) for turn in turns)
    up = np.median([turn[2, 2] for turn in turns])
    return {
        "rmse_m": float(np.sqrt(np.mean(np.square(errors)))),
        "largest_m": float(errors.max()),
        "largest_deg": turned_deg,
        "up_off_deg": float(np.degrees(np.arccos(np.clip(up, -1.0, 1.0)))) if map_.manifest.gravity_aligned else None,
        "is_right": bool(errors.max() <= RIGHT * LENGTH_M and turned_deg <= RIGHT_DEG),
    }


def table_rows(rows: Sequence[Figures]) -> Iterator[list[str]]:
    """A line for each map."""
    for row in rows:
        camera = "straight down" if row["pitch_deg"] == 90 else f"{row['pitch_deg']}°"
        name = [str(row["site"]), str(row["images"]), camera]
        if "refused" in row:
            yield [*name, "", "", "", "", "", f"refused: {row['refused']}"]
            continue
        joined = f"{' + '.join(map(str, row['joined']))} of {row['images']}"
        if "is_right" not in row:
            yield [*name, joined, "", "", "", "", "too few to judge"]
            continue
        up = "not known" if row["up_off_deg"] is None else f"{row['up_off_deg']:.1f}°"
        verdict = "right" if row["is_right"] else "wrong"
        figures = [f"{row['rmse_m']:.2f}", f"{row['largest_m']:.2f}", f"{row['largest_deg']:.1f}"]
        yield [*name, joined, *figures, up, verdict]


if __name__ == "__main__":
    main()
