"""The node that has a server search images."""
