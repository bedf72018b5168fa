"""Localization by landmarks: every keypoint is recognised as part of a landmark of the map (PRAM, Xue et al. 2024).

A landmark is a group of neighbouring map points; a small transformer tells which keypoint shows which of them.
"""
