"""How well landmarks are recognised in images with known poses, by networks of several sizes and by nearest neighbours.

Run: OMP_NUM_THREADS=1 python -m benchmarks.landmarks.recognition --data ../shared/data --markdown results/landmarks.md

The true landmark of a keypoint is that of the map point that projects to within 3 px of it and looks like it (cosine of
0.7): 8 px in the red kitchen, whose true poses are good to 2 to 3 cm. All other keypoints count as background, those
too that show a point of the map which was not told; so background is recognised better than its recall says. A landmark
is in view where its frame shows 30 points or more that the image shows; where none is, the best third of them.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray

from benchmarks.landmarks.engines import nearest_recogniser
from benchmarks.landmarks.prepared import DEFAULT, Preparation, add_folders, all_places, chosen_places, prepared_map
from benchmarks.landmarks.queries import KITCHEN, KnownImage, known_images
from benchmarks.places import FeatureCache, Place
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.map import Map
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, style, to_png
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.strategies.landmarks.calibration import keep_likely_landmarks
from visloc_ros.localization.strategies.landmarks.clustering import label_points
from visloc_ros.localization.strategies.landmarks.landmark_map import LandmarkMap
from visloc_ros.localization.strategies.landmarks.opening import open_landmarks
from visloc_ros.localization.strategies.landmarks.preparation import PointFinder
from visloc_ros.localization.strategies.landmarks.recogniser import Recogniser
from visloc_ros.localization.strategies.landmarks.recognition_scores import score_recognition
from visloc_ros.localization.strategies.landmarks.searcher import rank_landmarks
from visloc_ros.localization.strategies.landmarks.tokens import BACKGROUND, Float32, Labels
from visloc_ros.localization.strategies.landmarks.training_config import TrainingConfig

SECTION = "Recognition"
CHOSEN_BY = ("redkitchen", "euroc", "room")
SIZES = ("nano", "tiny")
MAX_ERROR_PX = 3.0
KITCHEN_ERROR_PX = 8.0
SHARED_POINTS = 30
THRESHOLDS = np.round(np.linspace(0.0, 1.0, 101), 2)
HEADER = (
    "recogniser", "kB", "keypoints of landmarks", "accuracy", "mean over landmarks", "background: precision", "recall",
    "first landmark in view", "one of three", "threshold", "landmark keypoints kept", "background dropped",
)  # fmt: skip
CURVES = (("kept", LIGHT.good, "landmark keypoints kept"), ("dropped", LIGHT.bad, "background dropped"))


class Truth:
    """What the images of a place show, by their true poses."""

    def __init__(self, map_: Map, landmarks: LandmarkMap, images: Sequence[KnownImage], max_error_px: float) -> None:
        classes = np.append(label_points(map_, landmarks.config), BACKGROUND).astype(np.int64)  # NO_POINT is the last
        self.labels = [classes[rows] for rows in _points(map_, images, max_error_px)]
        shown = [image.point_rows for image in (landmarks.map.images[row] for row in landmarks.frame_rows)]
        self.in_view = [
            landmarks_in_view(np.array([np.isin(frame, seen).sum() for frame in shown]))
            for seen in _points(landmarks.map, images, max_error_px)
        ]


def _points(map_: Map, images: Sequence[KnownImage], max_error_px: float) -> list[NDArray[np.int32]]:
    """Rows of the points of a map that keypoints show, for each image."""
    finder = PointFinder(map_)
    return [finder.find(one.features, one.frame.camera, one.truth, max_error_px) for one in images]


def landmarks_in_view(shared: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which landmarks an image shows, by the number (k,) of points that it shares with the frame of each."""
    enough = shared >= SHARED_POINTS
    if enough.any():
        return np.asarray(enough)
    least = np.sort(shared)[-max(1, -(-len(shared) // 3))]
    return np.asarray(shared >= max(int(least), 1))


def main() -> None:
    """Measure all places, and write tables and the plot."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    places = chosen_places(arguments.data, arguments.work, arguments.only, CHOSEN_BY)
    figures = {place.name: measure_place(place, arguments) for place in places}
    report, body = {**provenance(), "places": figures}, as_markdown(figures)
    print(body)
    write_outputs(arguments, SECTION, report, body)
    if arguments.plots:
        arguments.plots.mkdir(parents=True, exist_ok=True)
        (arguments.plots / "landmarks_background.png").write_bytes(draw(figures))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser)
    parser.add_argument("--only", nargs="*", help="places: redkitchen, euroc, room (these by default), drive, painted")
    parser.add_argument("--sizes", nargs="*", default=SIZES, help="sizes of the network: nano, tiny, small, full")
    parser.add_argument("--minutes", type=float, default=8.0, help="longest training of a network")
    parser.add_argument("--every", type=int, default=1, help="take every n-th image only")
    parser.add_argument("--plots", type=Path, help="folder for the plot")
    add_outputs(parser)
    return parser.parse_args()


def preparations(sizes: Sequence[str], minutes: float) -> dict[str, Preparation]:
    """Trainings by the words for them; that of the default options is the one that other programs use, too."""
    chosen: dict[str, Preparation] = {}
    for size in sizes:
        for prototypes in (64, 0):
            name = f"{size}, prototypes" if prototypes else f"{size}, no prototypes"
            training = {"size": size, "prototypes": prototypes, "max_minutes": minutes}
            chosen[name] = Preparation(f"{size}_{prototypes}", {"training": training})
    return {name: DEFAULT if one.name == f"{TrainingConfig().size}_64" else one for name, one in chosen.items()}


def measure_place(place: Place, arguments: argparse.Namespace) -> Figures:
    """Figures of all recognisers in one place."""
    places = all_places(arguments.data, arguments.work)
    map_ = prepared_map(place, places, arguments.work)
    landmarks = open_landmarks(map_)[0]
    cache = FeatureCache(arguments.work / "features", AnchorEngine(map_))
    images = known_images(place, cache, arguments.every)
    limit = KITCHEN_ERROR_PX if place.name == KITCHEN else MAX_ERROR_PX
    truth = Truth(map_, landmarks, images, limit)
    figures = {"nearest neighbours": measure(nearest_recogniser(landmarks), images, truth)}
    for name, preparation in preparations(arguments.sizes, arguments.minutes).items():
        prepared = prepared_map(place, places, arguments.work, preparation)
        size = prepared.manifest.prepared["landmarks"]["recogniser"]["bytes"]
        recogniser = open_landmarks(prepared)[1]
        figures[name] = {**measure(recogniser, images, truth), "bytes": size}
    return {"images": len(images), "landmarks": landmarks.num_landmarks, "max_error_px": limit, "recognisers": figures}


def measure(recogniser: Recogniser, images: Sequence[KnownImage], truth: Truth) -> Figures:
    """Figures of one recogniser."""
    probabilities = [recogniser.recognise(image.features) for image in images]
    threshold = recogniser.background_threshold
    first, of_three = zip(
        *(hits(one, threshold, view) for one, view in zip(probabilities, truth.in_view, strict=True)), strict=True
    )
    kept, dropped = prefilter(probabilities, truth.labels, np.append(THRESHOLDS, threshold))
    return {
        **asdict(score_recognition(probabilities, truth.labels)),
        "landmark_keypoints": sum(int((one != BACKGROUND).sum()) for one in truth.labels),
        "keypoints": sum(len(one) for one in truth.labels),
        "first_in_view": float(np.mean(first)),
        "one_of_three_in_view": float(np.mean(of_three)),
        "threshold": threshold,
        "kept": kept[-1],
        "dropped": dropped[-1],
        "curve": {"threshold": THRESHOLDS.tolist(), "kept": kept[:-1].tolist(), "dropped": dropped[:-1].tolist()},
        "bytes": 0,
    }


def hits(probabilities: Float32, threshold: float, in_view: NDArray[np.bool_]) -> tuple[bool, bool]:
    """Whether the landmark that would be tried first is in view, and whether one of the first three is."""
    kept = probabilities[keep_likely_landmarks(probabilities, threshold)]
    tried = [in_view[landmark.label - 1] for landmark, _ in zip(rank_landmarks(kept), range(3), strict=False)]
    return bool(tried and tried[0]), any(tried)


def prefilter(
    probabilities: Sequence[Float32], labels: Sequence[Labels], thresholds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares (T,) of landmark keypoints that are kept, and of background that is dropped, with each threshold."""
    background = np.concatenate([one[:, BACKGROUND] for one in probabilities])
    is_background = np.concatenate(labels) == BACKGROUND
    inliers, others = np.sort(background[~is_background]), np.sort(background[is_background])
    limits = np.asarray(thresholds, np.float32)
    kept = np.searchsorted(inliers, limits, side="right") / max(len(inliers), 1)
    dropped = 1.0 - np.searchsorted(others, limits, side="right") / max(len(others), 1)
    return kept, dropped


def as_markdown(places: Figures) -> str:
    """A table for each place."""
    return "\n\n".join(place_part(name, figures) for name, figures in places.items())


def place_part(name: str, figures: Figures) -> str:
    """One place's table."""
    words = (
        f"{figures['images']} images, {figures['landmarks']} landmarks; points within {figures['max_error_px']:g} px "
        "of a keypoint."
    )
    rows = [recogniser_row(words_of, one) for words_of, one in figures["recognisers"].items()]
    return f"### {name}\n\n{words}\n\n{table(HEADER, rows)}"


def recogniser_row(name: str, one: Figures) -> list[str]:
    """One recogniser's line."""
    before = ("accuracy", "macro_accuracy", "background_precision", "background_recall")
    hit = ("first_in_view", "one_of_three_in_view")
    return [
        name,
        f"{one['bytes'] / 1e3:,.0f}" if one["bytes"] else "–",
        f"{one['landmark_keypoints']:,} of {one['keypoints']:,}",
        *(f"{100.0 * one[key]:.1f} %" for key in (*before, *hit)),
        f"{one['threshold']:.3f}",
        *(f"{100.0 * one[key]:.1f} %" for key in ("kept", "dropped")),
    ]


def draw(places: Figures) -> bytes:
    """A PNG: what the pre-filter keeps and drops over its threshold, a panel for each place."""
    with style():
        figure = new_figure(3.4 * len(places), 3.4)
        panels = np.atleast_1d(figure.subplots(1, len(places), sharey=True))
        for axes, (name, figures) in zip(panels, places.items(), strict=True):
            _draw_curve(axes, figures["recognisers"])
            axes.set(title=name, xlabel="probability of background", xlim=(0.0, 1.0), ylim=(0.0, 101.0))
        panels[0].set_ylabel("%")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(CURVES) + 1)
        return to_png(figure)


def _draw_curve(axes: Axes, recognisers: Figures) -> None:
    """One place's curves: of the default network, or, where it was not measured, of the last one."""
    one = recognisers.get("tiny, prototypes") or list(recognisers.values())[-1]
    curve = one["curve"]
    for key, colour, words in CURVES:
        axes.plot(curve["threshold"], 100.0 * np.array(curve[key]), color=colour, label=words)
    axes.axvline(one["threshold"], color=LIGHT.muted, lw=1.0, ls=(0, (3, 2)), label="threshold of the map")


if __name__ == "__main__":
    main()
