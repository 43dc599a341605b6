"""What a trace's reads are: their pattern, who made them, what of."""
