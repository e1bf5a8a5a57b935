"""The one exception a user is meant to see."""

from collections.abc import Iterable
from difflib import get_close_matches


class ReconError(Exception):
    """Something the user can put right; the message is one sentence that names the fix."""


class NoSearch(ReconError):
    """No search of an attack takes a network of this kind, trained so."""


def unknown(kind: str, name: str, known: Iterable[str]) -> ReconError:
    """The error of a name that nothing has: it asks for the one that may be meant, or lists all."""
    known = [*known]
    like = get_close_matches(name, known, 1)
    fix = f"did you mean {like[0]}?" if like else f"choose one of {', '.join(known)}."
    return ReconError(f"Unknown {kind} {name!r}: {fix}")


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
