"""The benchmark of a map of a million points: what is counted, and that figures add up."""

from plugins.visloc_search.benchmarks.fused import million
from plugins.visloc_search.benchmarks.fused.million import Cities, measure


def test_the_approximate_index_finds_most_of_what_the_exact_one_does():
    cities = Cities(12_000)
    exact, approximate = measure(cities.codebook("int8"), "int8", [cities.image(100)])
    assert exact["inlier_percent"] == 100.0
    assert approximate["inlier_percent"] > 90.0
    report = {"points": 12_000, "keypoints": 100, "rows": [exact, approximate]}
    assert million.as_markdown(report).count("int8") == 2
