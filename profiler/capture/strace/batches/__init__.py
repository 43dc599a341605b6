"""The usual lines of a log, many at a time: about speed, never about meaning."""
