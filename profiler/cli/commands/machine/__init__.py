"""The commands about this machine and its devices."""
