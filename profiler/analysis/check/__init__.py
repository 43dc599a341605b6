"""A start held against its baseline, in numbers that hardly vary."""
