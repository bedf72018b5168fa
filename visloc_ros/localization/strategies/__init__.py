"""Ways of searching a map, each a package: what it prepares in a map, and how it gathers evidence with that."""

from visloc_ros.localization.strategies.registry import make_searcher

__all__ = ["make_searcher"]
