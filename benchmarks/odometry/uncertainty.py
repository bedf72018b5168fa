"""Consistency of ``klt``: errors of its motion against its covariance (NEES), and of its scale with depth.

Run: python -m benchmarks.odometry.uncertainty --data ../shared/data --markdown results/odometry.md

The normalised estimation error squared (NEES) of motions over a second is 6 in the mean (5.3 in the median) for a
consistent covariance. The unit of the truth is fitted within 2.5 s of each motion. Depth images are exact ones of
simulated rooms with a common error of 5 %, noise of 10 % a pixel, and a fifth of outliers.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from benchmarks.places import known_truth
from benchmarks.program import add_outputs, median, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.geometry import SE3, Array, rotation_vector, umeyama
from visloc_ros.core.tangent import move_covariance
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Frame, OdometryPose
from visloc_ros.evaluation.association import truth_at
from visloc_ros.evaluation.machine import provenance
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.odometry.backend import DepthModel
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.sequence import Simulation
from visloc_ros.sources import SourceConfig, open_source

REAL = {
    "euroc_mh05": SourceConfig(),
    "7scenes_redkitchen": SourceConfig(last=749),
    "kitti_06": SourceConfig(last=299),
}
SPAN_S = 1.0
MOUNT_PULL = 0.1  # of the root of the sum of squared motions: a hundredth of what these show
SCALE_WINDOW_NS = 5 * NANOSECONDS // 2
EXPLANATION = (
    "Normalised estimation errors squared (NEES) of motions over a second: 6 in the mean and 5.3 in the median where\n"
    "the covariance is consistent; also with the truth turned by the one angle that fits all motions best. The red\n"
    "kitchen's truth disagrees with its images by more than `klt` can know of."
)
NEES_HEADER = ("sequence", "NEES: mean, median", "with the truth turned", "error in 1 s", "expected")


@dataclass(frozen=True)
class Tracked:
    """Poses of one run in its longest segment, and the true ones."""

    poses: list[OdometryPose]
    truths: list[SE3]

    @property
    def units(self) -> Array:
        """Positions (N, 3) as tracked."""
        return np.array([pose.odom_from_camera.translation for pose in self.poses])

    @property
    def metres(self) -> Array:
        """True positions (N, 3)."""
        return np.array([truth.translation for truth in self.truths])


class NoisyDepth:
    """Depth images of a simulation as a model would guess them; the index of the frame must be set."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation, self._rng = simulation, np.random.default_rng(0)
        self.index = 0

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Depth (H / 4, W / 4) in metres of the frame of that index."""
        depth = self._simulation.renderer.depth(self._simulation.pose(self.index))[::4, ::4]
        depth = depth * np.exp(self._rng.normal(0.0, 0.05)) * (1.0 + self._rng.normal(0.0, 0.1, depth.shape))
        wrong = self._rng.random(depth.shape) < 0.2
        return np.asarray(np.where(wrong, depth * self._rng.uniform(0.2, 4.0, depth.shape), depth), np.float32)


def main() -> None:
    """Measure, and write the table."""
    arguments = parse_arguments()
    consistency: list[Figures] = []
    metres: list[Figures] = []
    for name, source in REAL.items():
        frames = open_source(arguments.data / name, source)
        tracked = track(frames, known_truth(frames))
        turned, angle_deg = with_truth_turned(tracked)
        beside = {"angle_deg": angle_deg, "turned": measure_nees(name, turned)["nees"]}
        consistency.append(measure_nees(name, tracked) | beside)
    for seed in range(arguments.rooms):
        config = SimulationConfig(seed=seed, duration_s=arguments.seconds)
        simulation = simulate(config, ("map", "localize")[seed % 2])
        depth = NoisyDepth(simulation)
        tracked = track(watched(simulation, depth), simulation.ground_truth, depth)
        consistency.append(measure_nees(f"room {seed}", tracked))
        metres.append(measure_scale(f"room {seed}", tracked))
    report = {**provenance(), "nees": consistency, "depth": metres}
    scales = f"Scale from depth images off by: {', '.join(map(depth_words, metres))}."
    body = f"{EXPLANATION}\n\n{table(NEES_HEADER, map(nees_row, consistency))}\n\n{scales}"
    write_outputs(arguments, "Covariance of klt", report, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--rooms", type=int, default=3, help="simulated rooms")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the walk in each room")
    add_outputs(parser)
    return parser.parse_args()


def watched(simulation: Simulation, depth: NoisyDepth) -> Iterable[Frame]:
    """The frames; before each, the depth model learns which it is."""
    for depth.index, frame in enumerate(simulation):
        yield frame


def track(frames: Iterable[Frame], truth: Trajectory, depth: DepthModel | None = None) -> Tracked:
    """Track all frames and keep those of the longest segment that have a covariance and a truth."""
    odometry = make_odometry(OdometryConfig(), depth=depth)
    results = [odometry.track(frame) for frame in frames]
    odometry.close()
    poses = [result for result in results if isinstance(result, OdometryPose) and result.covariance is not None]
    longest = np.bincount([pose.segment for pose in poses]).argmax()
    pairs = [(pose, truth_at(truth, pose.stamp_ns)) for pose in poses if pose.segment == longest]
    known = [(pose, true) for pose, true in pairs if true is not None]
    return Tracked([pose for pose, _ in known], [true for _, true in known])


def with_truth_turned(tracked: Tracked) -> tuple[Tracked, float]:
    """The same with its truth as of a camera mounted so that the directions of motion fit best, and the angle.

    A straight way leaves the turn about itself open: a weak pull towards none holds it.
    """
    found, true = (np.array(side) for side in zip(*all_motions(tracked), strict=True))
    pull = MOUNT_PULL * np.sqrt(np.sum(np.linalg.norm(found, axis=1) * np.linalg.norm(true, axis=1))) * np.eye(3)
    turn, _ = Rotation.align_vectors(np.concatenate([found, pull]), np.concatenate([true, pull]))
    mount = SE3(turn.as_matrix().T, np.zeros(3))
    return Tracked(tracked.poses, [truth @ mount for truth in tracked.truths]), float(np.degrees(turn.magnitude()))


def all_motions(tracked: Tracked) -> Iterable[tuple[Array, Array]]:
    """Motions over a second as tracked (3,), and the true ones (3,), in axes of the first camera."""
    for a, b, _ in pairs_apart(tracked):
        before, after = (tracked.poses[row].odom_from_camera for row in (a, b))
        yield (before.inverse @ after).translation, (tracked.truths[a].inverse @ tracked.truths[b]).translation


def measure_nees(name: str, tracked: Tracked) -> Figures:
    """Mean and median NEES, and the median size of errors, in metres."""
    motions = list(compare(tracked))
    nees = [float(error @ np.linalg.solve(covariance, error)) for error, covariance, _ in motions]
    return {
        "sequence": name,
        "nees": [float(np.mean(nees)), float(np.median(nees))],
        "error_m": median(scale * float(np.linalg.norm(error[:3])) for error, _, scale in motions),
        "sigma_m": median(scale * np.sqrt(np.trace(covariance[:3, :3])) for _, covariance, scale in motions),
    }


def compare(tracked: Tracked) -> Iterable[tuple[Array, Array, float]]:
    """Errors (6,) of motions over a second, in units and axes of the odometry, their covariances, metres per unit."""
    for a, b, scale in pairs_apart(tracked):
        before, after = tracked.poses[a], tracked.poses[b]
        motion = after.odom_from_camera.translation - before.odom_from_camera.translation
        if before.covariance is None or after.covariance is None:
            continue
        covariance = after.covariance - move_covariance(before.covariance, motion)
        if np.linalg.eigvalsh(covariance)[0] > 0.0:  # nothing is added while the camera stands still
            yield motion_error(tracked, a, b, scale), covariance, scale


def pairs_apart(tracked: Tracked) -> Iterable[tuple[int, int, float]]:
    """Rows of all two poses a second apart, and metres in one unit of the odometry there."""
    stamps = np.array([pose.stamp_ns for pose in tracked.poses])
    ends = np.searchsorted(stamps, stamps + int(SPAN_S * NANOSECONDS) - NANOSECONDS // 1000)
    for a, b in enumerate(ends.tolist()):
        if b == len(stamps):
            return
        near = np.abs(stamps - stamps[b]) <= SCALE_WINDOW_NS
        yield a, b, umeyama(tracked.metres[near], tracked.units[near]).scale


def motion_error(tracked: Tracked, a: int, b: int, scale: float) -> Array:
    """Error (6,) of the motion from pose a to b."""
    before, after = (tracked.poses[row].odom_from_camera for row in (a, b))
    found, true = before.inverse @ after, tracked.truths[a].inverse @ tracked.truths[b]
    shift = found.translation - true.translation / scale
    return np.concatenate(
        [before.rotation @ shift, before.rotation @ rotation_vector(found.rotation @ true.rotation.T)]
    )


def measure_scale(name: str, tracked: Tracked) -> Figures:
    """How metric the path is that the last scale makes of the poses."""
    units, metres, scale = tracked.units, tracked.metres, tracked.poses[-1].scale
    if scale is None:
        raise ValueError(f"{name}: depth images were given, but the odometry estimated no scale")
    best = umeyama(metres, units)
    return {
        "sequence": name,
        "scale_error": float(np.log(scale.metres_per_unit / best.scale)),
        "log_sigma": scale.log_sigma,
    }


def nees_row(row: Figures) -> tuple[str, ...]:
    """Cells of one row."""
    turned = "{:.1f}, {:.1f}".format(*row["turned"]) + f" ({row['angle_deg']:.2f}°)" if "turned" in row else "–"
    sizes = (f"{100 * row['error_m']:.2f} cm", f"{100 * row['sigma_m']:.2f} cm")
    return (row["sequence"], "{:.1f}, {:.1f}".format(*row["nees"]), turned, *sizes)


def depth_words(row: Figures) -> str:
    """What one room's scale is off by."""
    return f"{row['sequence']} {100 * row['scale_error']:+.2f} % (sigma {100 * row['log_sigma']:.2f} %)"


if __name__ == "__main__":
    main()
