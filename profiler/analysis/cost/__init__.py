"""What a start waited for, and where its time went."""
