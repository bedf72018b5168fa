"""Ways of searching a map, each a package: what it prepares in a map, and how it gathers evidence with that."""
