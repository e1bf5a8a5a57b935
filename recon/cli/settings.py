"""`--set NAME=VALUE`: an attack's own settings."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, get_type_hints

import typer

from recon.errors import ReconError

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of the attack; may be repeated.", metavar="NAME=VALUE"),
]


def options_of(attack: str, given: Sequence[str], steps: int | None = None) -> tuple[tuple[str, Any], ...]:
    """Settings as an attack takes them: `--steps`, and each NAME=VALUE as a value of the setting's type."""
    import msgspec

    from recon.attacks import with_options

    _, settings = with_options(attack, {})
    types = get_type_hints(type(settings))
    options: dict[str, Any] = {} if steps is None else {"steps": steps}
    for words in given:
        name, equals, value = (part.strip() for part in words.partition("="))
        if not equals:
            raise ReconError(f"--set {words} has no value: write NAME=VALUE.")
        try:
            options[name] = msgspec.convert(value, types.get(name, str), strict=False)
        except msgspec.ValidationError as error:
            raise ReconError(f"--set {words}: {str(error)[0].lower()}{str(error)[1:]}.") from error
    if unknown := ", ".join(sorted(options.keys() - names_of(settings))):
        raise ReconError(
            f"The attack {attack!r} has no setting {unknown}: with --set NAME=VALUE it takes "
            f"{', '.join(sorted(names_of(settings)))}."
        )
    return tuple(options.items())


def names_of(settings: Any) -> set[str]:
    """The names of an attack's settings."""
    return {field.name for field in dataclasses.fields(settings)}


@contextmanager
def told_how_to_set(attack: str) -> Iterator[None]:
    """Add to what the attack says of its settings how the command line gives them."""
    from recon.attacks import with_options

    try:
        yield
    except ReconError as error:
        names = "|".join(names_of(with_options(attack, {})[1]))
        if not re.search(rf"\b({names})\b", str(error)):
            raise
        raise ReconError(f"{str(error).rstrip('.')} (with --set NAME=VALUE).") from error
