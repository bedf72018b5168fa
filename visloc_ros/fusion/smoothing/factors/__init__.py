"""The factors of both smoothers, one file a kind of measurement."""
