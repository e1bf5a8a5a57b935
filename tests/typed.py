"""Type checks of `recon` in the tests, by jaxtyping's hook: import this before any of its modules."""

import re

import jaxtyping
from beartype import beartype


def checked(typechecker, _whole=jaxtyping.jaxtyped):
    """What decorates `recon`'s functions in the tests: sizes are tied together only where a signature may name some.

    Types alone are checked ten times faster. Functions inside others are decorated at each call of these, which takes
    longer than their own calls: those that name no sizes are left to mypy.
    """

    def decorated(what):
        named = "" if isinstance(what, type) else repr([*what.__annotations__.values()])
        later = "'" in re.sub("<class '[^']*'>", "", named)  # a type that is defined below: beartype alone lacks it
        if isinstance(what, type) or "jaxtyping." in named or later:
            return _whole(what, typechecker=typechecker)
        return what if "<locals>" in what.__qualname__ else beartype(what)

    return decorated


jaxtyping.jaxtyped = checked
