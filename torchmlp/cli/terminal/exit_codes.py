"""What the process tells its caller."""

DONE = 0
FAILED = 1
USAGE = 2
SICK = 3  # the run is numerically sick: its loss is nan or infinite
INTERRUPTED = 130  # Ctrl-C, 128 + SIGINT; a signal's code is `Interruption.exit_code`
