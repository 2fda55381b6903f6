"""What is said of data that cannot be had."""


class DataError(RuntimeError):
    """A data set cannot be read, downloaded or trusted; says which file, why, and the way out."""


class EmbeddedDataWarning(UserWarning):
    """The digits that ship with the package stand in for the full MNIST; the message says why."""
