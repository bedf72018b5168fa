"""Maps that are searched over HTTP: for robots without DDS to the machine that searches, for phones and pages."""
