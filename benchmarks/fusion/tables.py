"""Tables of the fusion benchmark."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import beta

from benchmarks.fusion.scenarios import EXPERIMENTS
from benchmarks.fusion.scores import FUSED, PIECES
from benchmarks.fusion.summary import ScenarioFigures
from benchmarks.results_file import table

FiguresByScenario = Mapping[str, ScenarioFigures]

PIECEWISE = "piecewise Umeyama, 10"
MOST_OF_PIECEWISE = 0.6
MOST_DIVERGED = 0.001
LEAST_IN_BAND = 0.9
MOST_JUMP = 1e-9
MOST_ROTATION_DEG, MOST_SCALE_ERROR = 1.0, 0.01


def fusion_table(figures: FiguresByScenario) -> str:
    """Errors beside an alignment; consistency, and first fixes."""
    header = [
        "scenario", "position error, median cm", f"{PIECEWISE}: median cm", "median °",
        "runs diverged", "NEES / 6", "runs in band", "first fix, median s",
    ]  # fmt: skip
    return table(header, [fusion_row(name, scenario) for name, scenario in figures.items()])


def fusion_row(name: str, f: ScenarioFigures) -> list[str]:
    """One scenario."""
    fused, plain = f.methods[FUSED], f.methods[PIECEWISE]
    return [
        f"{name}: {EXPERIMENTS[name].purpose}",
        cm(fused.median_m),
        cm(plain.median_m),
        f"{fused.median_deg:.2f}",
        percent(fused.diverged_share),
        f"{f.nees.anees:.2f}",
        percent(f.nees.runs_in_band_share, 0),
        f"{f.first_fix_s:.1f}",
    ]


def acceptance_table(figures: FiguresByScenario) -> str:
    """Requirements of the fusion in simulated runs, and the results."""
    rows = [*error_lines(figures), *robustness_lines(figures), *nees_lines(figures), *corridor_lines(figures)]
    return table(["asked", "measured", "reached"], [[asked, said, "yes" if ok else "no"] for asked, said, ok in rows])


Line = tuple[str, str, bool]


def error_lines(figures: FiguresByScenario) -> list[Line]:
    """Position errors beside piecewise Umeyama, where both have the same to go by: nothing but anchors."""
    same = {name: f for name, f in figures.items() if not EXPERIMENTS[name].scenario.tracked}
    if not same:
        return []
    ratios = {name: f.methods[FUSED].median_m / f.methods[PIECEWISE].median_m for name, f in same.items()}
    best = {name: f.methods[FUSED].median_m / best_piecewise(f) for name, f in same.items()}
    typical, against_best = float(np.median(list(ratios.values()))), float(np.median(list(best.values())))
    return [
        (
            f"median position error <= {MOST_OF_PIECEWISE} x that of piecewise Umeyama (10 anchors, none wrong)",
            f"{typical:.2f} in the median scenario; {spread(ratios)}",
            typical <= MOST_OF_PIECEWISE,
        ),
        (
            f"the same beside the best of {', '.join(map(str, PIECES))} anchors in each scenario",
            f"{against_best:.2f} in the median scenario; {spread(best)}",
            against_best <= MOST_OF_PIECEWISE,
        ),
    ]


def best_piecewise(scenario: ScenarioFigures) -> float:
    """The smallest median error that any length of the pieces gives."""
    return min(scenario.methods[f"piecewise Umeyama, {window}"].median_m for window in PIECES)


def robustness_lines(figures: FiguresByScenario) -> list[Line]:
    """Divergence, delay, jumps."""
    diverged = {name: f.methods[FUSED].diverged_share for name, f in figures.items()}
    lines = []
    if (share := diverged.pop("outliers", None)) is not None:
        runs = figures["outliers"].runs
        surely = percent(least_share(1 - share, runs))
        said = f"{percent(1 - share, 2)} of {runs} runs: at least {surely} of all, with 95 % confidence"
        lines.append(("99.9 % of runs without divergence at 30 % outliers and 1 s delay", said, share <= MOST_DIVERGED))
    if diverged:
        worst = max(diverged, key=diverged.__getitem__)
        said = f"at worst {percent(1 - diverged[worst], 2)} ({worst})"
        lines.append(("the same in every other scenario", said, diverged[worst] <= MOST_DIVERGED))
    if "late" in figures:
        lines.append(late_line(figures["late"]))
    jump = max(f.odom_jump for f in figures.values())
    lines.append(("odom jumps 0", f"at most {jump:.0e} m or rad: rounding", jump <= MOST_JUMP))
    return lines


def least_share(share: float, runs: int) -> float:
    """Share that a share of ``runs`` stands for at least, with 95 % confidence (Clopper and Pearson 1934)."""
    return float(beta.ppf(0.05, round(share * runs), runs - round(share * runs) + 1)) if share > 0.0 else 0.0


def late_line(late: ScenarioFigures) -> Line:
    """Right with 14 s of delay: never wrong while LOCALIZED, consistent, and nearer than any alignment."""
    fused = late.methods[FUSED]
    others = min(f.median_m for name, f in late.methods.items() if name != FUSED)
    said = (
        f"{percent(fused.diverged_share)} diverged, NEES / 6 {late.nees.anees:.2f}, median {cm(fused.median_m)} cm, "
        f"the best alignment {cm(others)} cm"
    )
    return "a 14 s delay leaves the output right", said, fused.diverged_share == 0 and fused.median_m < others


def nees_lines(figures: FiguresByScenario) -> list[Line]:
    """NEES, over all runs of all scenarios."""
    shares = {name: f.nees.runs_in_band_share for name, f in figures.items()}
    typical = float(np.mean(list(shares.values())))
    instants = float(np.mean([f.nees.instants_in_band_share for f in figures.values()]))
    said = f"{percent(typical, 0)}; {spread(shares)}; at one instant {percent(instants, 0)}"
    return [("NEES inside the 95 % band for >= 90 % of runs", said, typical >= LEAST_IN_BAND)]


def corridor_lines(figures: FiguresByScenario) -> list[Line]:
    """Positions alone do not determine the rotation about a straight line."""
    if "corridor" not in figures:
        return []
    corridor = figures["corridor"]
    fused, plain = corridor.methods[FUSED], corridor.methods["single Umeyama"]
    rotation = f"median {fused.median_deg:.2f}, p95 {fused.p95_deg:.2f}; single Umeyama {plain.median_deg:.0f}"
    scale = f"median {percent(corridor.scale_error, 2)}, p95 {percent(corridor.scale_error_p95, 2)}"
    return [
        ("10 m corridor, 1 cm noise: rotation error <= 1°", rotation, fused.p95_deg <= MOST_ROTATION_DEG),
        ("its scale at the end within 1 %", scale, corridor.scale_error_p95 <= MOST_SCALE_ERROR),
    ]


def spread(values: Mapping[str, float]) -> str:
    """Least and most, with the scenarios that have them."""
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    return f"{values[least]:.2f} ({least}) to {values[most]:.2f} ({most})"


def cm(metres: float) -> str:
    """Centimetres with a digit."""
    return f"{100 * metres:.1f}"


def percent(share: float, digits: int = 1) -> str:
    """A share as percent."""
    return f"{100 * share:.{digits}f} %"
