"""The simulated room that node tests build a map of: half a pass at half the size, without motion blur, for speed."""

import cv2

from visloc_ros.simulation import SimulationConfig, simulate

SIMULATION = SimulationConfig(
    width=480, height=360, focal_px=360.0, duration_s=4.0, rate_hz=2.0, noise_std=1.0, samples=1
)


def write_video(path, config=SIMULATION):
    """The pass that maps the room, as a film of two images a second."""
    sequence = simulate(config, "map")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 2.0, (config.width, config.height))
    for index in range(len(sequence)):
        writer.write(cv2.cvtColor(sequence.frame(index).image, cv2.COLOR_RGB2BGR))
    writer.release()
