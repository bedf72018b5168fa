"""Simulated images with exact truth, by a seed: a camera in a rendered room."""

from visloc_ros.simulation.sequence import PASSES, Simulation, SimulationConfig, simulate, write_folder

__all__ = ["PASSES", "Simulation", "SimulationConfig", "simulate", "write_folder"]
