"""``visloc evaluate``: how far one trajectory is from another."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import print_table
from visloc_ros.core.trajectory import read_tum
from visloc_ros.evaluation import evaluate_trajectories, trajectory_rows
from visloc_ros.evaluation.covariances import read_covariances


class AlignmentChoice(str, Enum):
    """What may be taken out before errors are measured."""

    none = "none"
    se3 = "se3"
    sim3 = "sim3"


def evaluate(
    estimate: Annotated[Path, typer.Argument(help="Estimated trajectory, TUM.")],
    truth: Annotated[Path, typer.Argument(help="True trajectory, TUM.")],
    align: Annotated[AlignmentChoice, typer.Option(help="Alignment before comparing.")] = AlignmentChoice.none,
    tolerance_s: Annotated[
        float, typer.Option(min=0.0, max=3600.0, help="Poses at most this far apart in time belong together.")
    ] = 0.01,
    covariances: Annotated[
        Path | None, typer.Option(help="covariances.txt of the estimate, to see whether they hold (NEES).")
    ] = None,
) -> None:
    """Compare two trajectories: absolute and relative errors, recall, and whether covariances hold.

    Example: visloc evaluate out/trajectory.tum truth.tum --align none
    """
    claimed = read_covariances(covariances) if covariances else None
    errors = evaluate_trajectories(read_tum(estimate), read_tum(truth), align.value, tolerance_s, covariances=claimed)
    print_table(f"{estimate} against {truth}", trajectory_rows(errors))
