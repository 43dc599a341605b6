"""Hard disks: from datasheets, and from measured drives."""
