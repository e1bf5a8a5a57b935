"""The one exception a user is meant to see."""


class ReconError(Exception):
    """Something the user can put right; the message is one sentence that names the fix."""
