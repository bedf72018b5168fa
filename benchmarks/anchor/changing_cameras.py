"""Cameras that change within a recording: they zoom, in and out, are stabilised, or cut their images.

Run: OMP_NUM_THREADS=1 python -m benchmarks.anchor.changing_cameras --data ../shared/data --markdown results/anchor.md

Images of four places are searched one after the other in the place's map. Zoomed images are the middle of the real
ones, enlarged to their size: "in" from the middle of the recording on, "out" up to there, "slowly" ever more from there
on. From there on, stabilised images are moved by up to 4 % of the width and turned by up to 2 degrees, and cut ones
show less of one side, enlarged. The camera is given as it is without that, or not known, and then estimated. Errors of
position and of rotation count in standard deviations (Mahalanobis distances). Maps are kept in the work folder.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import torch

from benchmarks.places import Place, real_places, true_pose, unseen_places
from benchmarks.program import add_folders, add_outputs, median, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.calibration import CalibrationSource, CameraCalibration, guess_calibration
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import AnchorPose, Frame, Image, Rejection
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine

SECTION = "Cameras that change"
SIGMAS = 5.0
FACTORS = (1.2, 1.5, 2.0, 3.0)
SHIFT, TURN_DEG, STABILISED_ZOOM = 0.04, 2.0, 1.1
HEADER = (
    *("place", "camera", "change", "images", "before: found", "median cm", "after: found", "median cm"),
    *("refused for", "largest [sigma]", "beyond 5 sigma"),
)

Change = Callable[[Image, float], Image]
"""An image as it is at a share of the recording."""


def warped(image: Image, zoom: float = 1.0, x: float = 0.0, y: float = 0.0, turn_deg: float = 0.0) -> Image:
    """An image enlarged about its middle, turned, and moved by shares of its width."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2.0, (height - 1) / 2.0), turn_deg, zoom)
    matrix[:, 2] += [x * width, y * width]
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC), np.uint8)


def zoomed_in(factor: float, image: Image, share: float) -> Image:
    """Zoomed at once in the middle of the recording."""
    return warped(image, factor) if share >= 0.5 else image


def zoomed_out(factor: float, image: Image, share: float) -> Image:
    """Zoomed until then."""
    return warped(image, factor) if share < 0.5 else image


def zoomed_slowly(factor: float, image: Image, share: float) -> Image:
    """Zoomed ever more from then on."""
    return warped(image, factor ** max(0.0, 2.0 * share - 1.0))


def stabilised(image: Image, share: float) -> Image:
    """Moved and turned against the shaking of a hand, from then on."""
    if share < 0.5:
        return image
    rng = np.random.default_rng(round(1e6 * share))
    x, y, turn = rng.uniform(-1.0, 1.0, 3) * [SHIFT, SHIFT, TURN_DEG]
    return warped(image, STABILISED_ZOOM, x, y, turn)


def cut(image: Image, share: float) -> Image:
    """Less of one side from then on, the rest enlarged to the size."""
    return warped(image, 1.25, 0.125) if share >= 0.5 else image


CHANGES: Mapping[str, Change] = {
    "none": lambda image, _: image,
    **{f"{factor:g} times in": partial(zoomed_in, factor) for factor in FACTORS},
    **{f"{factor:g} times out": partial(zoomed_out, factor) for factor in FACTORS},
    "2 times in, slowly": partial(zoomed_slowly, 2.0),
    "stabilised": stabilised,
    "cut to four fifths": cut,
}
CAMERAS: Mapping[str, Callable[[Frame], CameraCalibration]] = {
    "given": lambda frame: CameraCalibration(frame.camera, CalibrationSource.GIVEN),
    "not known": lambda frame: guess_calibration(frame.camera.width, frame.camera.height),
}


@dataclass(frozen=True)
class Recording:
    """The images of a place, changed, with their features and true poses."""

    frames: Sequence[Frame]
    features: Sequence[LocalFeatures]
    poses: Sequence[SE3]

    def localized(self, engine: AnchorEngine, calibration: CameraCalibration) -> Iterator[Figures]:
        """What an engine finds of each image, by a camera that all of them share."""
        for frame, features, pose in zip(self.frames, self.features, self.poses, strict=True):
            camera = calibration.camera
            found = engine.localize(replace(frame, camera=camera, calibration=calibration), features=features)
            yield figures_of(found, pose)


def figures_of(found: AnchorPose | Rejection, truth: SE3) -> Figures:
    """The error of a pose in metres, and in standard deviations; the reason of a rejection."""
    if isinstance(found, Rejection):
        return {"reason": found.reason.name}
    error = pose_difference(truth, found.map_from_camera)
    squares = [error[one] @ np.linalg.solve(found.covariance[one, one], error[one]) for one in (slice(3), slice(3, 6))]
    return {"error_m": float(np.linalg.norm(error[:3])), "sigmas": float(np.sqrt(max(squares)))}


def row_of(place: str, camera: str, change: str, found: Sequence[Figures]) -> list[str]:
    """A row of the table."""
    halves = found[: len(found) // 2], found[len(found) // 2 :]
    cells = []
    for half in halves:
        errors = [one["error_m"] for one in half if "error_m" in one]
        cells += [f"{len(errors)} of {len(half)}", f"{100.0 * median(errors):.1f}" if errors else "–"]
    reasons = Counter(one["reason"] for one in found if "reason" in one)
    sigmas = np.array([one["sigmas"] for one in found if "sigmas" in one])
    refused = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(2))
    return [
        *(place, camera, change, str(len(found)), *cells, refused),
        *(f"{sigmas.max(initial=0.0):.1f}", str(int((sigmas > SIGMAS).sum()))),
    ]


def main() -> None:
    """Search all recordings, and write the table."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/changing_cameras", "maps and rooms")
    parser.add_argument("--images", type=int, default=40, help="images of each place")
    add_outputs(parser)
    arguments: argparse.Namespace = parser.parse_args()
    torch.set_num_threads(1)
    models = make_extractor(), make_matcher()
    rows, report = list[list[str]](), Figures({**provenance(), "recordings": []})
    for place in (*real_places(arguments.data), *unseen_places(arguments.data, arguments.work)):
        map_ = place.open_map(arguments.work / "maps")
        for change in CHANGES:
            recording = record(place, CHANGES[change], models[0].extract, arguments.images)
            for camera, given in CAMERAS.items():
                engine = AnchorEngine(map_, AnchorConfig(), *models)
                found = list(recording.localized(engine, given(recording.frames[0])))
                rows.append(row_of(place.name, camera, change, found))
                report["recordings"].append({"place": place.name, "camera": camera, "change": change, "images": found})
                print(*rows[-1], sep=" | ", flush=True)
    write_outputs(arguments, SECTION, report, table(HEADER, rows))


def record(place: Place, change: Change, extract: Callable[[Image], LocalFeatures], count: int) -> Recording:
    """Images of a place, evenly chosen, changed by their share of the recording."""
    frames, truth = place.frames(), place.truth()
    rows = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)).tolist()
    chosen = [
        replace(frames[row], image=change(frames[row].image, number / len(rows))) for number, row in enumerate(rows)
    ]
    return Recording(chosen, [extract(one.image) for one in chosen], [true_pose(truth, one.stamp_ns) for one in chosen])


if __name__ == "__main__":
    main()
