"""Benchmarks of the fusion on simulated runs, beside plain alignments."""
