"""Strategies of localization beside retrieval and matching; each is a package of its own."""
