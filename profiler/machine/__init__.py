"""What acts on this machine and knows no program under trace."""
