"""Events that a kernel has not got, by probes of its functions."""
