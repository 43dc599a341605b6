"""Many traces: found, mapped to rows of facts on Dask, kept in a catalogue, reduced in DuckDB."""
