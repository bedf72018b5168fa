"""The commands of ``visloc geo``."""
