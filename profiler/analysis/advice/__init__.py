"""Why a start is slow, and what would help."""
