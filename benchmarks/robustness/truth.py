"""Where does the truth of a sequence contradict its images? Structure from motion, held to the truth but for a while.

Run: python -m benchmarks.robustness.truth ../shared/data/euroc_mh05 --markdown results/robustness.md

Every second image is reconstructed from SIFT by COLMAP, with none of this project's own matching or tracking. Positions
are held to the truth by a prior of one millimetre, and the lens is learnt with more coefficients than the calibration
has, so that what it leaves out is not blamed on the truth. Then the prior is let go for some seconds at a time.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap

from benchmarks.places import known_truth
from benchmarks.program import new_parser
from benchmarks.results_file import table, write_section
from visloc_ros.core.geometry import SE3, Array, umeyama
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.evaluation.machine import provenance
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.folder import open_folder

SIGMA_M = 1e-3  # to which positions are held to the truth
FREE_M = 0.2
SECTION = "Where the truth contradicts the images"
HEADER = ("let go", "images leave the truth by at most", "at", "squared errors fall by, variances of a keypoint")
EXPLANATION = (
    "Images of the flight reconstructed from SIFT by COLMAP, held to the true positions but for some seconds. Where "
    "the truth is right, the images leave it no farther at one time than at the next."
)
OPENCV_PARAMETERS, LENS_PARAMETERS = 8, 12


@dataclass(frozen=True)
class Sequence:
    """Images of one folder and camera, in order, with the seconds since the first and true ``map_from_camera``."""

    folder: Path
    camera: pycolmap.Camera
    names: list[str]
    seconds: Array
    truths: list[SE3]

    @staticmethod
    def of(folder: Path, every: int) -> "Sequence":
        """Every so many images of a folder that have a true pose."""
        source = open_folder(folder, SourceConfig())
        posed = [(image, known_truth(source).nearest(image.stamp_ns, 0)) for image in source.images[::every]]
        images, truths = zip(*((image, pose) for image, pose in posed if pose is not None), strict=True)
        stamps = np.array([image.stamp_ns for image in images])
        names = [image.path.name for image in images]
        seconds = (stamps - source.images[0].stamp_ns) / NANOSECONDS
        return Sequence(images[0].path.parent, source.camera, names, seconds, list(truths))

    @property
    def positions(self) -> Array:
        """True positions (N, 3)."""
        return np.array([truth.translation for truth in self.truths])


def main() -> None:
    """Measure, and write the table."""
    arguments = parse_arguments()
    sequence = Sequence.of(arguments.folder, arguments.every)
    held = hold(sequence, arguments.work)
    adjust(held, sequence, None)
    rows = []
    for begin in np.arange(sequence.seconds[0], sequence.seconds[-1] - arguments.seconds, arguments.step):
        model = hold(sequence, arguments.work)
        adjust(model, sequence, (float(begin), float(begin + arguments.seconds)))
        rows.append((f"{begin:.1f} to {begin + arguments.seconds:.1f} s", *compare(held, model, sequence)))
        print(*rows[-1], flush=True)
    write_section(arguments.markdown, SECTION, provenance(), f"{EXPLANATION}\n\n{table(HEADER, rows)}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("folder", type=Path, help="folder of images with their truth")
    parser.add_argument("--work", type=Path, default=Path("out/truth"), help="folder for the reconstruction")
    parser.add_argument("--every", type=int, default=2, help="how many images make one that is used")
    parser.add_argument("--seconds", type=float, default=4.4, help="how long the truth is let go")
    parser.add_argument("--step", type=float, default=2.2, help="seconds from one such while to the next")
    parser.add_argument("--markdown", type=Path, help="results file to write the table into")
    return parser.parse_args()


def hold(sequence: Sequence, work: Path) -> pycolmap.Reconstruction:
    """The reconstruction with positions held to the truth, and its lens learnt; kept in the work folder."""
    path = work / "held"
    if not path.exists():
        model = reconstruct(sequence, work)
        found = np.array([image.projection_center() for image in in_order(model, sequence)])
        similarity = umeyama(sequence.positions, found)
        turn = pycolmap.Rotation3d(similarity.rotation)
        model.transform(pycolmap.Sim3d(similarity.scale, turn, similarity.translation))
        adjust(model, sequence, None)
        (camera,) = model.cameras.values()
        parameters = list(camera.params)
        camera.model = pycolmap.CameraModelId.FULL_OPENCV
        camera.params = parameters + [0.0] * (LENS_PARAMETERS - OPENCV_PARAMETERS)
        adjust(model, sequence, None, learn_lens=True)
        path.mkdir(parents=True)
        model.write(path)
    return pycolmap.Reconstruction(path)


def reconstruct(sequence: Sequence, work: Path) -> pycolmap.Reconstruction:
    """COLMAP's incremental reconstruction, all images in one."""
    database, output = work / "database.db", work / "sfm"
    if not (output / "0").exists():
        output.mkdir(parents=True, exist_ok=True)
        camera = sequence.camera
        reader = pycolmap.ImageReaderOptions(
            camera_model=camera.model.name, camera_params=",".join(map(str, camera.params))
        )
        extraction = pycolmap.FeatureExtractionOptions(use_gpu=False)
        extraction.sift.max_num_features, extraction.sift.peak_threshold = 3000, 0.003
        pycolmap.extract_features(
            database,
            sequence.folder,
            image_names=sequence.names,
            camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=reader,
            extraction_options=extraction,
        )
        pairing = pycolmap.SequentialPairingOptions(overlap=8, quadratic_overlap=True)
        pycolmap.match_sequential(
            database, pairing_options=pairing, matching_options=pycolmap.FeatureMatchingOptions(use_gpu=False)
        )
        options = pycolmap.IncrementalPipelineOptions(
            ba_refine_focal_length=False, ba_refine_extra_params=False, multiple_models=False
        )
        pycolmap.incremental_mapping(database, sequence.folder, output, options=options)
    model = pycolmap.Reconstruction(output / "0")
    if model.num_reg_images() != len(sequence.names):
        raise SystemExit(f"only {model.num_reg_images()} of {len(sequence.names)} images were reconstructed")
    return model


def in_order(model: pycolmap.Reconstruction, sequence: Sequence) -> list[pycolmap.Image]:
    """The model's images as in the sequence."""
    by_name = {image.name: image for image in model.images.values()}
    return [by_name[name] for name in sequence.names]


def compare(held: pycolmap.Reconstruction, freed: pycolmap.Reconstruction, sequence: Sequence) -> tuple[str, str, str]:
    """How far images leave the truth when they are let go, which second that is at, and what it does to the errors."""
    distances = np.linalg.norm(positions_of(freed, sequence) - sequence.positions, axis=1)
    before, after = (np.square(all_errors_px(model)) for model in (held, freed))
    fall = (np.nansum(before) - np.nansum(after)) / np.nanmean(before)
    return f"{1e3 * distances.max():.0f} mm", f"{sequence.seconds[distances.argmax()]:.1f} s", f"{fall:.0f}"


def positions_of(model: pycolmap.Reconstruction, sequence: Sequence) -> Array:
    """Positions (N, 3) of a model's images."""
    return np.array([image.projection_center() for image in in_order(model, sequence)])


def adjust(
    model: pycolmap.Reconstruction, sequence: Sequence, freed: tuple[float, float] | None, learn_lens: bool = False
) -> None:
    """Adjust a model held to the truth outside the freed seconds."""
    options = pycolmap.BundleAdjustmentOptions(
        refine_focal_length=learn_lens, refine_extra_params=learn_lens, refine_principal_point=learn_lens
    )
    config, priors = pycolmap.BundleAdjustmentConfig(), []
    for image, second, truth in zip(in_order(model, sequence), sequence.seconds, sequence.truths, strict=True):
        is_free = freed is not None and freed[0] < second < freed[1]
        config.add_image(image.image_id)
        priors.append(
            pycolmap.PosePrior(
                position=truth.translation,
                position_covariance=np.eye(3) * (FREE_M if is_free else SIGMA_M) ** 2,
                coordinate_system=pycolmap.PosePriorCoordinateSystem.CARTESIAN,
                corr_data_id=image.data_id,
            )
        )
    adjuster = pycolmap.create_pose_prior_bundle_adjuster(
        options, pycolmap.PosePriorBundleAdjustmentOptions(), config, priors, model
    )
    adjuster.solve()


def all_errors_px(model: pycolmap.Reconstruction) -> Array:
    """Reprojection errors (N, 2) of all images; NaN where a point lies behind the camera."""
    return np.concatenate([errors_px(model, image) for image in model.images.values()])


def errors_px(model: pycolmap.Reconstruction, image: pycolmap.Image) -> Array:
    """Reprojection errors (N, 2) of an image."""
    seen = [point for point in image.points2D if point.has_point3D()]
    points = np.array([model.points3D[point.point3D_id].xyz for point in seen])
    projected = model.cameras[image.camera_id].img_from_cam(image.cam_from_world() * points)
    return np.asarray(projected - np.array([point.xy for point in seen]))


if __name__ == "__main__":
    main()
