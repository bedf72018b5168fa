"""The field's data sets and their protocols: what lies on disk, what is searched for where, what papers print of it."""
