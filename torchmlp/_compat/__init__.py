"""Other libraries' private names and repairs, each in one place."""
