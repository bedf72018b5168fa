"""Benchmarks of geolocation."""
