"""How a place is found in a map without a predicted pose: one package a strategy."""
