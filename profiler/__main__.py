"""`python -m profiler`, and what the command `coldseek` starts."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from profiler.cli import main as run

    run()


if __name__ == "__main__":
    main()
