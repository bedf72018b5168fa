"""The node that finds where on the earth the camera is."""
