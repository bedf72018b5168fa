"""How the figures of builds are carried on to maps that nobody has built."""

from typing import Any

import pytest

from plugins.visloc_cluster.benchmarks.large_tables import all_tables, exponent


def figures(images: int) -> dict[str, Any]:
    """Of a build whose parts take a second an image, of which training grows with the square, in one process."""
    costs = {
        "extract": {"tasks": images // 64, "core_s": 1.0 * images, "longest_s": 64.0, "peak_mb": 300.0},
        "train": {"tasks": 1, "core_s": 1e-3 * images**2, "longest_s": 1e-3 * images**2, "peak_mb": 0.5 * images},
    }
    return {
        "images": images, "registered": images, "wall_s": 2.0 * images**1.1, "caller_s": {"train": 9.0, "save": 0.0},
        "caller_mb": 200.0 + 0.05 * images, "costs": costs,
        "median_m": 0.01, "largest_m": 0.02, "median_deg": 0.1, "largest_deg": 0.2,
    }  # fmt: skip


def test_growth_is_found_and_carried_on() -> None:
    sizes = {str(count): figures(count) for count in (100, 1000)}
    assert exponent(list(sizes.values()), [one["wall_s"] for one in sizes.values()]) == pytest.approx(1.1)
    text = all_tables(sizes, {}, {})
    assert "Time grows as n^1.10, core-seconds as n^1.26." in text
    assert "| train | 1 | 1000 | 1000.0 s | 500 MB | n^2.00 |" in text
    core_hours = (10_000 + 1e-3 * 10_000**2) / 3600
    assert f"| 10,000 | {core_hours:.1f} | ${0.04 * core_hours:.2f} |" in text
    assert "| 0.7 GB |" in text
