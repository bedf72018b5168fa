"""Work in parts on many computers, by Ray."""

__version__ = "0.1.0"
