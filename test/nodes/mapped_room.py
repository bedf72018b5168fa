"""The simulated room that node tests build a map of: half a pass at half the size, enough to map and to find, quick."""

from visloc_ros.simulation import SimulationConfig

SIMULATION = SimulationConfig(width=480, height=360, focal_px=360.0, duration_s=4.0, rate_hz=2.0, noise_std=1.0)
