"""Search by instances: parts of the place that a network recognises say which map images to match.

After LBR (Xue et al., CVPR 2022): "Efficient large-scale localization by global instance recognition".
"""
