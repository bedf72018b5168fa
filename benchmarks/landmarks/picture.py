"""Two pictures for the documentation, of the simulated room: its landmarks from above, and what an image shows of them.

Run: python -m benchmarks.landmarks.picture --data ../shared/data --output docs/images

The room is made by this package, so that its pictures may be shown anywhere. The data are needed as images of
elsewhere, which the recogniser is trained with.
"""

import argparse
import io
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.landmarks.prepared import add_folders, all_places, prepared_map
from benchmarks.landmarks.queries import KnownImage, known_images
from benchmarks.landmarks.recognition import MAX_ERROR_PX, Truth
from benchmarks.places import FeatureCache
from benchmarks.program import new_parser
from visloc_ros.core.map import Map
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, style, to_png
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.strategies.landmarks.landmark_map import LandmarkMap
from visloc_ros.localization.strategies.landmarks.opening import open_landmarks
from visloc_ros.localization.strategies.landmarks.tokens import BACKGROUND, Labels

ROOM = "room"
MAP_NAME, IMAGE_NAME = "landmarks_map.png", "landmarks_image.png"
SHOWN_PERCENTILES = (1.0, 99.0)
VIEW_LENGTH = 0.5  # metres
FRAME_SIZE = 26.0
DOTS_PER_INCH = 110
COLOURS = 96  # of a file
FADED = 0.45  # of the image under its keypoints
BLUR_PX = 0.8  # noise takes most of a file


def main() -> None:
    """Draw both pictures."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    places = all_places(arguments.data, arguments.work)
    place = next(one for one in places if one.name == ROOM)
    map_ = prepared_map(place, places, arguments.work)
    landmarks, recogniser = open_landmarks(map_)
    cache = FeatureCache(arguments.work / "features", AnchorEngine(map_))
    image = known_images(place, cache)[arguments.image]
    found = recogniser.recognise(image.features).argmax(axis=1)
    truth = Truth(map_, landmarks, [image], MAX_ERROR_PX).labels[0]
    arguments.output.mkdir(parents=True, exist_ok=True)
    with style():
        write(arguments.output / MAP_NAME, draw_map(map_, landmarks))
        write(arguments.output / IMAGE_NAME, draw_image(image, found, truth, landmarks.num_landmarks))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser)
    parser.add_argument("--image", type=int, default=34, help="which of the images searched for is shown")
    parser.add_argument("--output", type=Path, default=Path("docs/images"), help="folder for the pictures")
    return parser.parse_args()


def draw_map(map_: Map, landmarks: LandmarkMap) -> Figure:
    """Points from above, coloured by landmark, and the cameras, with those that stand for a landmark."""
    figure = new_figure(6.0, 5.4)
    axes = figure.subplots()
    points = landmarks.map.points[:, :2]
    axes.scatter(points[:, 0], points[:, 1], s=4.0, c=colours(landmarks.labels, landmarks.num_landmarks), lw=0.0)
    cameras = map_.camera_positions
    axes.scatter(cameras[:, 0], cameras[:, 1], s=7.0, marker="s", color=LIGHT.idle, label="images of the map")
    for label in range(1, landmarks.num_landmarks + 1):
        draw_frame(axes, landmarks, label)
    axes.scatter([], [], s=FRAME_SIZE, color=LIGHT.surface, edgecolor=LIGHT.ink, lw=0.6, label="frame of a landmark")
    low, high = np.percentile(points, SHOWN_PERCENTILES, axis=0)
    axes.set(xlim=(low[0] - 0.3, high[0] + 0.3), ylim=(low[1] - 0.3, high[1] + 0.3), xlabel="m", ylabel="m")
    axes.set_aspect("equal")
    axes.set_title(f"{landmarks.num_landmarks} landmarks of a room, seen from above")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def draw_frame(axes: Axes, landmarks: LandmarkMap, label: int) -> None:
    """The frame of a landmark, as a ring around that of a later one where it is the same."""
    row = landmarks.frame_rows[label - 1]
    later = int((landmarks.frame_rows[label:] == row).sum())
    pose = landmarks.map.images[row].map_from_camera
    colour = [colours(np.array([label]), landmarks.num_landmarks)[0]]
    (x, y), (ahead_x, ahead_y) = pose.translation[:2], VIEW_LENGTH * pose.rotation[:2, 2]
    axes.quiver(x, y, ahead_x, ahead_y, color=colour, angles="xy", scale_units="xy", scale=1.0, width=0.006)
    axes.scatter(x, y, s=FRAME_SIZE * (1 + 2 * later), color=colour, edgecolor=LIGHT.ink, lw=0.6, zorder=3.0)


def draw_image(image: KnownImage, found: Labels, truth: Labels, num_landmarks: int) -> Figure:
    """The image twice, with its keypoints as they are recognised, and as they truly are."""
    figure = new_figure(9.0, 3.7)
    shown = truth != BACKGROUND
    share = 100.0 * float((found == truth)[shown].mean())
    for axes, labels, words in zip(
        figure.subplots(1, 2),
        (found, truth),
        (f"landmarks of keypoints, as recognised: {share:.1f} % right", "as the true pose tells them"),
        strict=True,
    ):
        draw_keypoints(axes, image, labels, num_landmarks)
        axes.set_title(words)
    return figure


def draw_keypoints(axes: Axes, image: KnownImage, labels: Labels, num_landmarks: int) -> None:
    """A faded image with keypoints coloured by landmark, background in grey."""
    grey = cv2.cvtColor(cv2.GaussianBlur(image.frame.image, (0, 0), BLUR_PX), cv2.COLOR_RGB2GRAY)
    axes.imshow(255.0 - FADED * (255.0 - grey.astype(np.float32)), cmap="gray", vmin=0.0, vmax=255.0)
    for is_landmark, size in ((False, 5.0), (True, 13.0)):
        rows = np.flatnonzero((labels != BACKGROUND) == is_landmark)
        pixels = image.features.keypoints[rows] - 0.5
        axes.scatter(pixels[:, 0], pixels[:, 1], s=size, c=colours(labels[rows], num_landmarks), lw=0.0)
    axes.set_axis_off()


def colours(labels: NDArray[np.integer], num_landmarks: int) -> NDArray[np.float64]:
    """Colours (N, 4) of landmarks, which differ as much as so many can; background is grey."""
    palette = colormaps["tab10" if num_landmarks <= 10 else "tab20"]
    of_background = (0.55, 0.58, 0.63, 1.0)
    table = np.array([of_background, *(palette((label - 1) % palette.N) for label in range(1, num_landmarks + 1))])
    return np.asarray(table[labels])


def write(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG of few colours, which is a third as large."""
    picture = PIL.Image.open(io.BytesIO(to_png(figure, DOTS_PER_INCH))).convert("RGB")
    picture.quantize(COLOURS, dither=PIL.Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
