"""Storage devices as models: arrays of device offsets and sizes in, an array of service times out."""

from profiler.devices.loading import find, presets
from profiler.devices.model import Device, Model

__all__ = ["Device", "Model", "find", "presets"]
