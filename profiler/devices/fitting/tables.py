"""What `coldseek calibrate` measures, as tables. `reads`, a row a read:

    series    "random": at random places, past the page cache (O_DIRECT), nothing else under way
              "buffered": the same of 4 KiB through the page cache, as a program reads; never a hit
              "distance": `distance` bytes from the read before it, past the page cache
              "next": right behind the read before it, past the page cache
              "alone", "handed": of 4 KiB through the page cache, never a hit, made by the thread that wants
              them and by a worker for it; "alone cached", "handed cached": the same again, hits
              "other": what led to one of these; counted, but of no use otherwise
              "paused": as "random", of 4 KiB, after the reader was busy with something else for so long
    round     0, 1 ...: all series are measured in every round, so that rounds can be compared
    size, distance   bytes; of "paused" distance is the pause in microseconds
    seconds   from the call to its return
    zeros     whether nothing but zeros was read

`rates`, a row for reads that were under way together, past the page cache:

    series    "queue": of random places; "sequential": one after another
    round, size   as above
    depth     reads under way at any time
    place     for "sequential": share of the device at which they lie, 0 to 1; else 0
    requests, seconds   how many were done in what time
"""

from __future__ import annotations

READ_COLUMNS: dict[str, str] = {
    "series": "str", "round": "int64", "size": "int64", "distance": "int64", "seconds": "float64",
    "zeros": "bool",
}  # fmt: skip
RATE_COLUMNS: dict[str, str] = {
    "series": "str", "round": "int64", "size": "int64", "depth": "int64", "place": "float64",
    "requests": "int64", "seconds": "float64",
}  # fmt: skip
