"""Pictures for the documentation: instances that an image shows, how sure the network is, and matches within them.

Run: python -m plugins.visloc_search.benchmarks.instances.picture --data ../shared/data \\
         --output plugins/visloc_search/docs

The room is made by this package, so that its pictures may be shown anywhere. It is mapped by day and seen in the
evening.
"""

import argparse
import shutil
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from benchmarks.places import Place, simulated_room
from benchmarks.program import add_folders, new_parser
from visloc_ros.core.landmark_colours import landmark_colours
from visloc_ros.core.map import Map, MapImage, open_map
from visloc_ros.core.types import AnchorPose, Frame, Image
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.sources import open_source
from visloc_search.instances.config import INSTANCES
from visloc_search.instances.opening import open_instances
from visloc_search.instances.pictures import confidence_picture, enlarged, painted
from visloc_search.instances.preparation import prepare_instances

SIZE = 480, 360  # of each panel
GAP = 8
COLOURS = 200  # of a file
LEAST_SHOWN = 12  # matches of the map image
CROWDED = 60  # matches: of more only some are drawn


def main() -> None:
    """Draw the pictures."""
    arguments = parse_arguments()
    place = simulated_room(arguments.work)
    map_ = open_map(prepared(place, arguments.work))
    frame = place.frames()[arguments.image]
    _, recogniser = open_instances(map_)
    recognition = recogniser.recognise(frame.rgb)
    mask, confidence = enlarged(recognition.mask, SIZE), enlarged(recognition.confidence, SIZE)
    image = panel(frame.rgb)
    arguments.output.mkdir(parents=True, exist_ok=True)
    write(arguments.output / "instances_image.png", [image, painted(image, mask), confidence_picture(confidence)])
    engine = AnchorEngine(map_, AnchorConfig(search=INSTANCES))
    anchor = engine.localize(frame)
    if not isinstance(anchor, AnchorPose):
        raise SystemExit(f"{frame.name} is not found: {anchor}; choose another --image")
    pictures = {one.name: one.rgb for one in open_source(place.map_folder)}
    write(arguments.output / "instances_matches.png", [draw_matches(frame, anchor, engine.map, pictures)])


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/landmarks", "maps and rooms")
    parser.add_argument("--image", type=int, default=34, help="which of the images searched for is shown")
    parser.add_argument("--output", type=Path, default=Path("docs/images"), help="folder for the pictures")
    return parser.parse_args()


def prepared(place: Place, work: Path) -> Path:
    """The prepared map of a place below the work folder, made if missing."""
    path = work / "prepared" / INSTANCES / place.name
    if not path.exists():
        place.open_map(work / "maps")
        shutil.copytree(work / "maps" / place.name, path)
    if INSTANCES not in open_map(path).prepared:
        prepare_instances(path)
    return path


def draw_matches(frame: Frame, anchor: AnchorPose, map_: Map, pictures: dict[str, Image]) -> Image:
    """The image beside the map image with most of its inliers, with lines in the colours of their instances."""
    rows = np.array([np.linalg.norm(map_.points - point, axis=1).argmin() for point in anchor.inlier_points])
    shown = max((one for one in map_.images if one.name in anchor.references), key=lambda one: num_common(one, rows))
    common, keypoints, inliers = np.intersect1d(shown.point_rows, rows, return_indices=True)
    if len(common) < LEAST_SHOWN:
        raise SystemExit(f"{shown.name} shares only {len(common)} points with {frame.name}: choose another --image")
    canvas = np.hstack((panel(frame.rgb), gap(), panel(pictures[shown.name])))
    start = anchor.inlier_pixels[inliers] * np.array(SIZE) / frame.image.shape[1::-1]
    end = shown.features.keypoints[keypoints] * np.array(SIZE) / [shown.camera.width, shown.camera.height]
    end[:, 0] += SIZE[0] + GAP
    colours = landmark_colours(anchor.inlier_landmarks[inliers]).tolist()
    every = -(-len(common) // CROWDED)
    for first, last, colour in list(zip(start, end, colours, strict=True))[::every]:
        a, b = ((round(x), round(y)) for x, y in (first.tolist(), last.tolist()))
        cv2.line(canvas, a, b, colour, 1, cv2.LINE_AA)
        for place in (a, b):
            cv2.circle(canvas, place, 3, colour, cv2.FILLED, cv2.LINE_AA)
    return canvas


def num_common(image: MapImage, rows: np.ndarray) -> int:
    """How many of the points by row an image sees."""
    return len(np.intersect1d(image.point_rows, rows))


def panel(image: Image) -> Image:
    """An image in the size of a panel."""
    return np.asarray(cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA), np.uint8)


def gap() -> Image:
    """White between panels."""
    return np.full((SIZE[1], GAP, 3), 255, np.uint8)


def write(path: Path, panels: list[Image]) -> None:
    """Write panels side by side, with few colours."""
    parts = [part for one in panels for part in (gap(), one)][1:]
    picture = PIL.Image.fromarray(np.hstack(parts))
    picture.quantize(COLOURS, dither=PIL.Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
