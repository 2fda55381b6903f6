"""The rules of the diagnosis: pure functions of a record, one file for each moment."""
