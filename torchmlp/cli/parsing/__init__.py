"""From the words of a command line to what Lightning parses."""
