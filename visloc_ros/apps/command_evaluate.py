"""``visloc evaluate``: how far one trajectory is from another."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import print_statistics, print_table
from visloc_ros.core.trajectory import read_tum
from visloc_ros.evaluation import PairSelection, error_statistics, evaluate_trajectories, trajectory_rows
from visloc_ros.evaluation.covariances import read_covariances


class AlignmentChoice(str, Enum):
    """What may be taken out before errors are measured."""

    none = "none"
    origin = "origin"
    scale = "scale"
    se3 = "se3"
    sim3 = "sim3"


class DeltaUnit(str, Enum):
    """What the poses that a relative error compares are apart."""

    frames = "f"
    metres = "m"
    degrees = "d"
    radians = "r"
    seconds = "s"


def evaluate(
    estimate: Annotated[Path, typer.Argument(help="Estimated trajectory, TUM.")],
    truth: Annotated[Path, typer.Argument(help="True trajectory, TUM.")],
    align: Annotated[
        AlignmentChoice,
        typer.Option(help="Alignment before comparing (evo: none, --align_origin, -s, -a, -as)."),
    ] = AlignmentChoice.none,
    n_to_align: Annotated[int | None, typer.Option(min=3, help="Align by this many poses from the start.")] = None,
    delta: Annotated[float, typer.Option(help="What the poses of a relative error are apart.")] = 1.0,
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
) -> None:
    """Compare two trajectories: the figures of evo and of the KITTI and TUM benchmarks, recall, covariances.

    The TUM benchmark's own are those with --align se3 --delta-unit s --all-pairs.

    Example: visloc evaluate out/trajectory.tum truth.tum --align none
    """
    claimed = read_covariances(covariances) if covariances else None
    errors = evaluate_trajectories(
        read_tum(estimate),
        read_tum(truth),
        align.value,
        tolerance_s,
        n_to_align=n_to_align,
        pair_selection=PairSelection(delta, delta_unit.value, all_pairs),
        covariances=claimed,
    )
    print_table(f"{estimate} against {truth}", trajectory_rows(errors))
    print_statistics(error_statistics(errors))
