"""Runs the parts of a large job: here, on all processors, or on a cluster; what is done is never done again."""
