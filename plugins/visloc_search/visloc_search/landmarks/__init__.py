"""Landmarks instead of reference images: the map reduced to labelled points and virtual reference frames.

After PRAM (Xue et al. 2024, Place Recognition Anywhere Model for Efficient Visual Localization, arXiv 2404.07785).
"""
