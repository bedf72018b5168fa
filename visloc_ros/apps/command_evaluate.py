"""``visloc evaluate`` and ``plot``: how far one trajectory is from another, and a picture of several."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from visloc_ros.apps.console import AsJson, console, print_json, print_statistics, print_table
from visloc_ros.apps.flags import find_map
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.apps.pose_files import read_poses
from visloc_ros.core.trajectory_files import read_trajectory
from visloc_ros.evaluation import PairSelection, error_statistics, evaluate_trajectories, trajectory_rows
from visloc_ros.evaluation.consistency import read_covariances
from visloc_ros.evaluation.metrics import Statistics
from visloc_ros.evaluation.trajectories import TrajectoryErrors
from visloc_ros.localization.searchable_map import open_searchable_map


class AlignmentChoice(str, Enum):
    """The alignment before errors are measured."""

    none = "none"
    origin = "origin"
    scale = "scale"
    se3 = "se3"
    sim3 = "sim3"


class DeltaUnit(str, Enum):
    """The unit of the distance between the poses of a relative error."""

    frames = "f"
    metres = "m"
    degrees = "d"
    radians = "r"
    seconds = "s"


def evaluate(
    estimate: Annotated[Path, typer.Argument(help="Estimated trajectory: TUM, CSV or KITTI.")],
    truth: Annotated[Path, typer.Argument(help="True trajectory, likewise.")],
    align: Annotated[
        AlignmentChoice,
        typer.Option(help="Alignment before comparing (evo: none, --align_origin, -s, -a, -as)."),
    ] = AlignmentChoice.none,
    n_to_align: Annotated[int | None, typer.Option(min=3, help="Align by this many poses from the start.")] = None,
    delta: Annotated[float, typer.Option(help="Distance between the poses of a relative error.")] = 1.0,
    delta_unit: Annotated[
        DeltaUnit, typer.Option(help="Its unit: frames, metres, degrees, radians or seconds.")
    ] = DeltaUnit.frames,
    all_pairs: Annotated[bool, typer.Option(help="Relative errors from every pose on, instead of in turn.")] = False,
    tolerance_s: Annotated[
        float, typer.Option(min=0.0, max=3600.0, help="Poses at most this far apart in time belong together.")
    ] = 0.01,
    covariances: Annotated[
        Path | None, typer.Option(help="covariances.txt of the estimate, to see whether they hold (NEES).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two trajectories: the figures of evo and of the KITTI and TUM benchmarks, recall, covariances.

    The TUM benchmark's own are those with --align se3 --delta-unit s --all-pairs.

    Example: visloc evaluate out/trajectory.tum truth.tum --align none
    """
    claimed = read_covariances(covariances) if covariances else None
    errors = evaluate_trajectories(
        read_trajectory(estimate),
        read_trajectory(truth),
        align.value,
        tolerance_s,
        n_to_align=n_to_align,
        pair_selection=PairSelection(delta, delta_unit.value, all_pairs),
        covariances=claimed,
    )
    if as_json:
        print_json({"estimate": estimate, "truth": truth, **figures(errors)})
        return
    print_table(f"{estimate} against {truth}", trajectory_rows(errors))
    print_statistics(error_statistics(errors))


def figures(errors: TrajectoryErrors) -> dict[str, Any]:
    """Plain values for JSON; figures that could not be measured are null."""
    by_orientations = errors.by_orientations or (None, None)
    return {
        "matched": errors.num_matched,
        "estimated": errors.num_estimates,
        "true": errors.num_truths,
        "align": errors.align,
        "scale": errors.truth_from_estimate.scale,
        "position_error_m": _spread(errors.position_error_m),
        "rotation_error_deg": _spread(errors.rotation_error_deg),
        "pairs": asdict(errors.pair_selection),
        "relative_position_error_m": _spread(errors.relative_position_error_m),
        "relative_rotation_error_deg": _spread(errors.relative_rotation_error_deg),
        "position_error_by_orientations_m": _spread(by_orientations[0]),
        "rotation_error_by_orientations_deg": _spread(by_orientations[1]),
        "recall": [row.figures() for row in errors.recall],
        "recall_of_matched": [row.figures() for row in errors.recall_of_matched],
        "kitti": None if errors.kitti is None else asdict(errors.kitti),
        "nees": None if errors.consistency is None else asdict(errors.consistency),
    }


def _spread(statistics: Statistics | None) -> dict[str, float] | None:
    return None if statistics is None else asdict(statistics) | {"std": statistics.std, "sse": statistics.sse}


def plot(
    files: Annotated[
        list[Path],
        typer.Argument(help="Poses map_from_camera: TUM files, or poses.jsonl of localize.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write: .png, .svg or .html.")],
    map_path: Annotated[
        Path | None, typer.Option("--map", callback=find_map, help="Map whose points are drawn below.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw trajectories beside each other: from above with where the camera looks, and over time.

    Example: visloc plot out/office/trajectory.tum truth.tum --map maps/office --output out/office.png
    """
    check_outputs(output)
    names = [path.name for path in files]  # in the picture; where they are not enough, whole paths
    trajectories = {
        name if names.count(name) == 1 else str(path): read_poses(path) for name, path in zip(names, files, strict=True)
    }
    place = None if map_path is None else open_searchable_map(map_path)
    from visloc_ros.evaluation.trajectory_plot import write_trajectory_plot  # drawing takes a second to import

    unit = "map units" if place is not None and not place.manifest.metric else "m"
    write_trajectory_plot(output, trajectories, None if place is None else place.points, unit)
    counts = {name: len(trajectory) for name, trajectory in trajectories.items()}
    if as_json:
        print_json({"picture": output, "poses": counts})
    else:
        console.print(f"{sum(counts.values())} poses in {output}", highlight=False)
