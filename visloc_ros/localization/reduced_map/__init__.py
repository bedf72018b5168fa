"""A map reduced to points and the frames that show them: what ways of searching other than retrieval keep of it."""
