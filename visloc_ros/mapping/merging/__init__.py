"""Maps of one place become one map: where they overlap, how they lie to each other, points joined, all adjusted."""
