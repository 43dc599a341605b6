"""What lies where in the disk that the guest sees: partitions, file systems, and whose blocks these are."""
