"""What combines runs: recorded, cold against warm, several at once, advice tried."""
