"""The one exception a user is meant to see."""


class ReconError(Exception):
    """Something the user can put right; the message is one sentence that names the fix."""


def reason(error: BaseException, most: int = 80) -> str:
    """Why something failed, for a message: the exception's own words on one line, printable, cut short."""
    words = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    if isinstance(error, OSError) and error.strerror:
        words = error.strerror
    shown = printable(words)[:most]
    if isinstance(error, OSError | ValueError) and shown:
        return shown
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def printable(words: str) -> str:
    """Words of a file for a message: nothing that would end its line or steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in words)
