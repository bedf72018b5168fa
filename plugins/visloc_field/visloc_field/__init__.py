"""Public data sets and their protocols: their files, the queries and their maps, and the figures of papers."""

__version__ = "0.1.0"
