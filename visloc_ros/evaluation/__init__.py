"""Evaluates runs: errors against truth, latencies, rejections, and the report that shows them."""

from typing import TYPE_CHECKING

from visloc_ros.core.late_names import late_names

if TYPE_CHECKING:
    from visloc_ros.evaluation.odometry_errors import OdometryErrors, evaluate_odometry
    from visloc_ros.evaluation.records import AnchorRecord, FrameRecord, RunRecord
    from visloc_ros.evaluation.relative_pairs import PairSelection
    from visloc_ros.evaluation.report import write_results
    from visloc_ros.evaluation.summary import summarize
    from visloc_ros.evaluation.table import Row, error_statistics, odometry_rows, summary_rows, trajectory_rows
    from visloc_ros.evaluation.trajectories import TrajectoryErrors, evaluate_trajectories

__all__ = [
    "AnchorRecord",
    "FrameRecord",
    "OdometryErrors",
    "PairSelection",
    "Row",
    "RunRecord",
    "TrajectoryErrors",
    "error_statistics",
    "evaluate_odometry",
    "evaluate_trajectories",
    "odometry_rows",
    "summarize",
    "summary_rows",
    "trajectory_rows",
    "write_results",
]

__getattr__ = late_names(
    __name__,
    {
        "odometry_errors": (
            "OdometryErrors",
            "evaluate_odometry",
        ),
        "records": (
            "AnchorRecord",
            "FrameRecord",
            "RunRecord",
        ),
        "relative_pairs": ("PairSelection",),
        "report": ("write_results",),
        "summary": ("summarize",),
        "table": (
            "Row",
            "error_statistics",
            "odometry_rows",
            "summary_rows",
            "trajectory_rows",
        ),
        "trajectories": (
            "TrajectoryErrors",
            "evaluate_trajectories",
        ),
    },
)
