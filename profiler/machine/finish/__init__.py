"""When an observation is over: conditions, who looks out for them, and what is said of it."""
