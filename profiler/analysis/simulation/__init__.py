"""The kernel and the device, simulated: from reads to requests to seconds."""
