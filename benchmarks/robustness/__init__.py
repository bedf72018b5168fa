"""Benchmarks of incidents of a localized camera: kidnapping, another place, darkness, no anchors."""
