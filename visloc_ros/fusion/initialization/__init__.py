"""Where the odometry lies in the map: the first alignment, and a new one after a kidnapping."""
