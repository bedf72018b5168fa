"""What the weight of whole images does, drawn: keypoints matched in the right place, and with the right point."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmarks.results_file import Figures

LABELS = {"default": "averaged and converted (default)", "smooth: 0, convert: false": "as in the paper"}
PANELS = {
    "matched in the right place": "keypoints matched in the right place [%]",
    "with a point that projects there": "with a point that projects there [%]",
}
COLOURS = ("#1f77b4", "#d95f02")
LARGEST = 2.0  # larger weights are refused


def draw_weights(rows: Sequence[Figures]) -> Figure:
    """Both shares over rho, a line for each choice of options."""
    figure = Figure(figsize=(9.0, 3.4), layout="constrained", facecolor="white")
    for axes, (name, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for colour, (options, label) in zip(COLOURS, LABELS.items(), strict=True):
            own = [one for one in rows if one["options"] == options and one["rho"] <= LARGEST]
            axes.plot([one["rho"] for one in own], [one[name] for one in own], "o-", color=colour, label=label)
        axes.axvline(0.5, color="#999999", linewidth=1.0, linestyle=":")
        axes.set(title=title, xlabel="rho; lambda is 1 / (1 + rho)")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(loc="lower right", frameon=False)
    return figure
