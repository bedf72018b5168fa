"""Map points seen by the last anchor, followed from frame to frame: a pose in the map at camera rate."""
