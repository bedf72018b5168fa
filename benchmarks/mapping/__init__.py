"""Benchmarks of building maps: sparse maps, incremental and global mapping."""
