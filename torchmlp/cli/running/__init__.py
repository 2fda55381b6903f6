"""Running what a command line has configured."""
