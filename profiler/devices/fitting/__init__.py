"""From timed reads to a device model, and to the file that holds it."""
