"""Patches followed from image to image, and robust poses from points: what odometry and map tracking share."""
