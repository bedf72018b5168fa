"""A finished map in another frame: of its floor, of known poses, of an occupancy grid, of AprilTags, of the earth."""
