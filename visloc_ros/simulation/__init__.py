"""A simulated room seen by a camera on a smooth path: exact poses, exact projection, deterministic by seed."""

from visloc_ros.simulation.config import SimulationConfig
from visloc_ros.simulation.sequence import PASSES, Simulation, simulate
from visloc_ros.simulation.writer import write_folder

__all__ = ["PASSES", "Simulation", "SimulationConfig", "simulate", "write_folder"]
