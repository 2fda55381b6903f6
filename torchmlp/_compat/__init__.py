"""Other libraries where they are not at hand as they should be."""
