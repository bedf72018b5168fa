"""Searches of changed images: altered by light, sensor and lens, and of a place that people have changed."""
