"""Pure functions on the tables of a trace: no files, no clock, and an empty trace works."""
