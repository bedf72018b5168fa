"""The alignment of the odometry to the map: the first one, and a new one after a kidnapping."""
