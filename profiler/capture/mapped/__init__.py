"""Reads through memory mappings, from what a program's page tables hold when it ends."""
