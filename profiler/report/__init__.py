"""One summary of a trace, rendered as text, JSON and figures, so that they cannot disagree."""
