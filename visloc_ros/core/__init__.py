"""Values every other part speaks in: poses, frames, results, configuration, maps. No ROS, no torch."""
