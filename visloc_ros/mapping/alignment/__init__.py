"""Moves a finished map to another frame: of its floor, known poses, an occupancy grid, AprilTags, or the earth."""
