"""Tables of the robustness benchmark: states and times of each scenario, and consistency of the covariances."""

import math
from collections.abc import Sequence

from rich.table import Table

from benchmarks.results_file import Figures, table
from visloc_ros.apps.console import console
from visloc_ros.core.types import State, Support
from visloc_ros.evaluation.table import UNKNOWN
from visloc_ros.fusion.innovation import ANCHOR, TRACKED

BEYOND_3_SIGMA = math.erfc(3.0 / math.sqrt(2.0))  # share of the poses of an exact covariance
SECTION = "What can happen to a camera"
HEADER = (
    "scenario",
    "poses",
    "LOCALIZED, DEGRADED, LOST",
    "detected after",
    "LOST after",
    "recovered after",
    "largest error",
    "beyond 3 sigma",
)
NEES_SECTION = "Consistency of the covariance"
NEES_HEADER = (
    "scenario",
    "NEES of poses",
    "95 % band of the mean",
    "inside the 95 % band",
    "NIS of anchors",
    "NIS of tracked poses",
    "map tracking / anchor / odometry",
)
NEES_LEGEND = (
    "Means of the squared error over the covariance (NEES, against the truth; the kitchen's is good to 2-3 cm) and of "
    "the squared innovation over its own (NIS); 6 is consistent, more overconfident, less conservative. The band of "
    "the mean is that of as many independent errors as their autocorrelation leaves. In brackets the share inside the "
    "95 % chi-square band. Last: shares of the poses by what they rest on."
)
LEGEND = (
    "Detected after: from the beginning of the incident to the first frame whose state is not LOCALIZED. Recovered "
    "after: from its end (without an incident: from the first frame) to the first LOCALIZED pose within 3 sigma. "
    "Largest error: while LOCALIZED. Beyond 3 sigma: LOCALIZED poses whose squared normalised error is above 20.1, "
    "which 0.27 % of those of a consistent covariance are, and the longest time in a row (0.0 s: "
    "single frames). Anchors join {latency_s} s after their image, and the next one is sought then."
)


def show(rows: Sequence[Figures]) -> None:
    """Print both tables."""
    for title, header, to_cells in ((SECTION, HEADER, cells), (NEES_SECTION, NEES_HEADER, nees_cells)):
        shown = Table(*header, title=title, title_justify="left")
        for row in rows:
            shown.add_row(*to_cells(row))
        console.print(shown)
    console.print(conclusion(rows))


def as_markdown(rows: Sequence[Figures], anchor_latency_s: float) -> str:
    """The same for a results file, with what the columns mean."""
    legend = LEGEND.format(latency_s=anchor_latency_s)
    return "\n\n".join([conclusion(rows), table(HEADER, [cells(row) for row in rows]), legend, when_wrong(rows)])


def nees_markdown(rows: Sequence[Figures]) -> str:
    """Whether errors and innovations are as large as their covariances say."""
    return "\n\n".join([table(NEES_HEADER, [nees_cells(row) for row in rows]), NEES_LEGEND])


def nees_cells(row: Figures) -> list[str]:
    """NEES, NIS and support of a scenario in words."""
    nees, nis, supports = row["nees"], row["nis"], row["frames_by_support"]
    shares = [supports.get(one.value, 0) for one in (Support.MAP_TRACKING, Support.ANCHOR, Support.ODOMETRY)]
    return [
        row["name"],
        UNKNOWN if nees is None else f"{nees['mean']:.1f}",
        UNKNOWN if nees is None else "{:.1f} to {:.1f}".format(*nees["mean_band"]),
        UNKNOWN if nees is None else f"{100 * nees['share_in_band']:.0f} %",
        *(mean_and_share(nis.get(source)) for source in (ANCHOR, TRACKED)),
        " / ".join(f"{100 * count / row['poses']:.0f} %" for count in shares) if row["poses"] else UNKNOWN,
    ]


def mean_and_share(found: Figures | None) -> str:
    """Mean of squared innovations, and the share inside the band; a dash without any."""
    return UNKNOWN if found is None else f"{found['mean']:.1f} ({100 * found['share_in_band']:.0f} %)"


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


def when_wrong(rows: Sequence[Figures]) -> str:
    """Which seconds of the scenarios the poses beyond 3 sigma are of."""
    spans = (
        f"{row['name']} {', '.join(f'{begin:.1f}-{end:.1f}' for begin, end in row['overconfident_spans_s'])}"
        for row in rows
        if row["overconfident_spans_s"]
    )
    return f"Beyond 3 sigma from the first to the last frame, in seconds: {'; '.join(spans) or 'never'}."


def cells(row: Figures) -> list[str]:
    """A scenario in words; a dash where it never came to it."""
    states = [row["frames_by_state"].get(state.value, 0) for state in (State.LOCALIZED, State.DEGRADED, State.LOST)]
    error = [number(row["largest_error"], 100.0, 1, " cm"), number(row["largest_error_deg"], 1.0, 1, "°")]
    return [
        row["name"],
        f"{row['poses']} of {row['frames']}",
        " / ".join(map(str, states)),
        *(number(row[key], 1.0, 1, " s") for key in ("detected_after_s", "lost_after_s", "recovered_after_s")),
        UNKNOWN if row["largest_error"] is None else ", ".join(error),
        f"{row['overconfident']} ({row['longest_overconfident_s']:.1f} s)" if row["overconfident"] else "0",
    ]


def number(value: float | None, factor: float, digits: int, unit: str) -> str:
    """A number in words, or a dash."""
    return UNKNOWN if value is None else f"{factor * value:.{digits}f}{unit}"
