"""Reads made again: files to make them on, and fio, which makes them."""
