"""What a trace knows besides its tables: the machine, the disk images, untraced runs, copies. Each is read
from JSON once, bounded, and typed from then on. What is not known, or cannot be, is None."""
