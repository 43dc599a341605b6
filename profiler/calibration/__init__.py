"""Measuring a device: from timed reads to what a device file is fitted from."""
