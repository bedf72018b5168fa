"""Sizes that the published weights fix."""

CELL_PX = 4  # image pixels along a cell of the quarter grid, on which features, patches and intrinsics are
PATCH_SIDE = 3  # cells
MATCHING_CHANNELS = 128  # of the features that are correlated
HIDDEN_SIZE = 384  # of the context and of an edge's state
