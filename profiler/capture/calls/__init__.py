"""What calls mean for descriptors and positions; which calls there are is in `profiler.calls`."""
