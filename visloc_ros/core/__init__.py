"""The types that all other packages exchange: poses, frames, results, configuration, maps. No ROS, no torch."""
