"""Tables of the robustness benchmark: states and times of each scenario, and consistency of the covariances."""

import math
from collections.abc import Sequence

from benchmarks.results_file import Figures, table
from visloc_ros.core.types import State
from visloc_ros.evaluation.table import UNKNOWN

BEYOND_3_SIGMA = math.erfc(3.0 / math.sqrt(2.0))  # share of the poses of an exact covariance
SECTION = "What can happen to a camera"
HEADER = (
    "scenario",
    "LOCALIZED, DEGRADED, LOST of frames",
    "LOST after",
    "recovered after",
    "largest error",
    "beyond 3 sigma",
    "mean NEES",
)
LEGEND = (
    "Recovered after: from the end of the incident (without one: from the first frame) to the first LOCALIZED pose "
    "within 3 sigma. Largest error: while LOCALIZED. Beyond 3 sigma: LOCALIZED poses whose squared normalised error is "
    "above 20.1, and the longest time in a row. NEES: mean squared error over the covariance; 6 is consistent, more "
    "overconfident (the kitchen's truth is good to 2-3 cm)."
)


def as_markdown(rows: Sequence[Figures]) -> str:
    """The same for a results file, with what the columns mean."""
    return "\n\n".join([conclusion(rows), table(HEADER, [cells(row) for row in rows]), LEGEND])


def nees_in_words(nees: Figures | None) -> str:
    """The mean."""
    return f"{nees['mean']:.1f}" if nees else UNKNOWN


def conclusion(rows: Sequence[Figures]) -> str:
    """The figures that matter."""
    wrong, elsewhere, localized = (
        sum(row[key] for row in rows) for key in ("overconfident", "poses_outside_map", "localized")
    )
    return (
        f"{sum(row['frames'] for row in rows)} frames, {localized} of them LOCALIZED: "
        f"**{wrong} beyond 3 sigma** (exact covariances: {BEYOND_3_SIGMA * localized:.0f}), "
        f"{elsewhere} poses of images that do not show the mapped place."
    )


def cells(row: Figures) -> list[str]:
    """A scenario in words; a dash where it never came to it."""
    states = [row["frames_by_state"].get(state.value, 0) for state in (State.LOCALIZED, State.DEGRADED, State.LOST)]
    error = [number(row["largest_error"], 100.0, 1, " cm"), number(row["largest_error_deg"], 1.0, 1, "°")]
    return [
        row["name"],
        f"{', '.join(map(str, states))} of {row['frames']}",
        *(number(row[key], 1.0, 1, " s") for key in ("lost_after_s", "recovered_after_s")),
        UNKNOWN if row["largest_error"] is None else ", ".join(error),
        f"{row['overconfident']} ({row['longest_overconfident_s']:.1f} s)" if row["overconfident"] else "0",
        nees_in_words(row["nees"]),
    ]


def number(value: float | None, factor: float, digits: int, unit: str) -> str:
    """A number in words, or a dash."""
    return UNKNOWN if value is None else f"{factor * value:.{digits}f}{unit}"
