"""Storage devices as models: arrays of offsets, sizes and arrivals in, service times out."""

from profiler.devices.loading import find, presets, usual
from profiler.devices.model import Device, Model

__all__ = ["Device", "Model", "find", "presets", "usual"]
