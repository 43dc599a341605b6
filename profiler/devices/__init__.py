"""Storage devices as models: arrays of device offsets and sizes in, an array of service times out."""
