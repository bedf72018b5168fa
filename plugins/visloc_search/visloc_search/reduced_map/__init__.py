"""Maps reduced to points and the frames that show them, for ways of searching other than retrieval."""
