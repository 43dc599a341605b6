"""What Linux makes of the accesses to files: its page cache, and its read-ahead."""
