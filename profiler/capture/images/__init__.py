"""What lies where in the disk images that a run read."""
