"""Reading and writing files: as the right user, whole or not at all, within the memory that is free."""
