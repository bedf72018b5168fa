"""Benchmarks of what can happen to a localized camera: kidnapping, another place, darkness, no anchors."""
