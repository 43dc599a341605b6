"""Programs -> Trace. Impure, Linux-only; imported only by the commands that capture."""
