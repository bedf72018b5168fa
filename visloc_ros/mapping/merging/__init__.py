"""Merges maps of one place: finds their overlap, aligns them, joins points, and adjusts everything."""
