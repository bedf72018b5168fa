"""Measurements of geolocation."""
