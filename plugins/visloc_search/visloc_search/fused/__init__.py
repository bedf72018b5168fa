"""Search by fused descriptors: keypoints are matched with the points of the whole map at once.

After FUSELOC (arXiv 2408.12037): the descriptor of a point fuses those of keypoints with those of whole images.
"""
