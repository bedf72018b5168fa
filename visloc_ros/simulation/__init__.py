"""Simulated data with exact truth, by a seed: a camera in a room, and runs of odometry and anchors without images."""

from visloc_ros.simulation.fusion_runs import FusionRun, simulate_run
from visloc_ros.simulation.fusion_scenario import FusionScenario
from visloc_ros.simulation.sequence import PASSES, Simulation, SimulationConfig, simulate, write_folder

__all__ = [
    "PASSES",
    "FusionRun",
    "FusionScenario",
    "Simulation",
    "SimulationConfig",
    "simulate",
    "simulate_run",
    "write_folder",
]
