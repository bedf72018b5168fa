"""Search by retrieval: images that look alike are matched (hierarchical localization, Sarlin et al. 2019)."""
