"""Programs that are started and timed here, and what ends with them."""
