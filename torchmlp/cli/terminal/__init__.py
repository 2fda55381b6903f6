"""What the program says, and how it ends."""
