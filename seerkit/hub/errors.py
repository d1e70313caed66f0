"""What can go wrong with a checkpoint; a file of its own, as everything here raises it."""


class CheckpointError(ValueError):
    """A checkpoint that is not complete, does not fit its recipe or is not to be trusted; says what is wrong."""


class HubError(RuntimeError):
    """The Hub, or the way there, said no; one line that says what to do."""
