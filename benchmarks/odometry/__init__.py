"""Benchmarks of the odometry alone: real sequences, stress scenes, memory, solvers, covariances."""
