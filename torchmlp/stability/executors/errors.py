"""What goes wrong in an executor."""


class ExecutorError(RuntimeError):
    """An executor that cannot run, or whose processes are lost again and again; says why."""
