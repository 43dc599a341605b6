"""The commands about what makes a start faster: what would, doing it, and trying it on a device."""
