"""The page cache of this machine: emptied, filled, and looked at."""
