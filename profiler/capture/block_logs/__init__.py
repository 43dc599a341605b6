"""Logs of block layers, as other tools print them, to a Trace of the device layer."""
