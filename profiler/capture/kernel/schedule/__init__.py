"""When tasks were off the processors, and why: the scheduler's events."""
