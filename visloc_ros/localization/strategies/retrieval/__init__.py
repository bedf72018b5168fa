"""Search by retrieval: images that look alike are matched (hierarchical localization, Sarlin et al. 2019)."""

from visloc_ros.localization.strategies.retrieval.searcher import RetrievalSearcher

__all__ = ["RetrievalSearcher"]
