"""Protocol buffers: the fields of a message by their numbers, without its description, and without copies."""

from collections.abc import Iterable, Iterator

MOST = 1_000_000  # fields of a file: of networks that can be audited they are a few hundred
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # kinds of fields
DAMAGED = "it is cut short, or another format"


class Reader:
    """Reads the messages of one file, up to `MOST` fields of all together."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self.left = MOST

    def fields(self, held: memoryview) -> dict[int, list[int | memoryview]]:
        """A message's fields by number, in order: integers, or the bytes of whatever else.

        Raises:
          ValueError: it is damaged, or has too many.
        """
        found: dict[int, list[int | memoryview]] = {}
        at = 0
        while at < len(held):
            self.left -= 1
            if self.left < 0:
                raise ValueError(f"it has more than {MOST} fields")
            key, at = varint(held, at)
            number, kind = key >> 3, key & 7
            value: int | memoryview
            if kind == VARINT:
                value, at = varint(held, at)
            elif kind in (FIXED64, BYTES, FIXED32):
                size, at = varint(held, at) if kind == BYTES else (8 if kind == FIXED64 else 4, at)
                if size > len(held) - at:
                    raise ValueError(DAMAGED)
                value, at = held[at : at + size], at + size
            else:
                raise ValueError(DAMAGED)
            found.setdefault(number, []).append(value)
        return found


def varint(held: memoryview, at: int) -> tuple[int, int]:
    """An integer of as many bytes as it needs, and the place behind it."""
    value = 0
    for i, byte in enumerate(held[at : at + 10]):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, at + i + 1
    raise ValueError(DAMAGED)


def integers(values: Iterable[int | memoryview]) -> Iterator[int]:
    """A repeated field's integers, each on its own or packed into bytes."""
    for value in values:
        if isinstance(value, int):
            yield value
            continue
        at = 0
        while at < len(value):
            one, at = varint(value, at)
            yield one


def joined(values: Iterable[int | memoryview]) -> bytes:
    """A field's bytes, of a repeated one all of them."""
    return b"".join(value for value in values if isinstance(value, memoryview))
