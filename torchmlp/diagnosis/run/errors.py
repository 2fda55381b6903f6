"""What cannot be diagnosed."""


class CannotDiagnoseError(ValueError):
    """The model, loss, optimizer or data are such that there is no run to look at."""
