"""Updates a map by recordings made in it: what is gone leaves the map, what is new is added."""
