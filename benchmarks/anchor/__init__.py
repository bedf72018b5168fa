"""Benchmarks of finding single images in a map: time by stage, accuracy, scaling, images out of the map."""
