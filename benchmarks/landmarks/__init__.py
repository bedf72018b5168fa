"""Search by landmarks beside search by retrieval: what it finds, how fast, with how many bytes, and why."""
