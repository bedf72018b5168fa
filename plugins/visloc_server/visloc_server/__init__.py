"""Searches maps over HTTP: for robots without DDS to the searching machine, for phones and web pages."""

__version__ = "0.1.0"
