"""Observing what others start, and what never ends: nothing is stopped."""
