"""Damage to real files: bytes anywhere, and what a format's own structure allows with its checksums put right."""

import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

NUMBERS = (0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, -(2**63))
MOST = 1 << 20  # bytes of an input
Damage = Callable[[random.Random, bytes], bytes]


def raw(rng: random.Random, content: bytes) -> bytes:
    """One to four changes of bytes: flipped, cut, removed, repeated, inserted, exchanged, wrong numbers."""
    made = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(made) + 1)
        to = min(len(made), at + int(2 ** rng.uniform(0, 12)))
        what = rng.randrange(10)
        if what == 0 and made:
            made[at % len(made)] ^= 1 << rng.randrange(8)
        elif what == 1 and made:
            made[at % len(made)] = rng.randrange(256)
        elif what == 2:
            del made[at:]
        elif what == 3:
            del made[at:to]
        elif what == 4:
            made[at:at] = made[at:to] * rng.choice((1, 2, 100))
        elif what == 5:
            made[at:at] = rng.randbytes(rng.randint(1, 64))
        elif what == 6:
            other = rng.randrange(len(made) + 1)
            made[at:to] = made[other : other + to - at]
        elif what == 7:
            made[at : at + 8] = struct.pack(rng.choice("<>") + "Q", rng.choice(NUMBERS) % 2**64)
        elif what == 8:
            made[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(NUMBERS) % 2**32)
        else:
            made[at:to] = bytes([rng.randrange(256)]) * (to - at)
    return bytes(made[:MOST])


def strange(rng: random.Random) -> Any:
    """A value that nobody asked for."""
    deep: Any = []
    for _ in range(rng.choice((3, 300))):
        deep = [deep] if rng.random() < 0.5 else {"a": deep}
    words = ["", "x", "[/]", "\x00", "\x1b[31m", "../../x", "é" * 300, "9" * 5000, "n\n\n", "NaN", "-1"]
    return rng.choice([None, True, -1, 0, 1e308, 1e-320, 2**62, 10**30, deep, [], {}, [[]], {"": {}}, *words])


def within(rng: random.Random, value: Any) -> Any:
    """The value with one of its parts changed, left out, doubled or exchanged."""
    if isinstance(value, dict) and value and rng.random() < 0.95:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        name = strange(rng) if rng.random() < 0.03 else key
        return {(str(name) if k == key else k): (within(rng, v) if k == key else v) for k, v in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.95:
        at = rng.randrange(len(value))
        what = rng.randrange(10)
        if what == 0:
            return value[:at] + value[at + 1 :]
        if what == 1:
            return value[: at + 1] * rng.choice((2, 50))
        return [within(rng, v) if i == at else v for i, v in enumerate(value)]
    if isinstance(value, int | float) and rng.random() < 0.5:
        return rng.choice([*NUMBERS, -value, value + 1, value * 1e6, 0.5, 1e300])
    return strange(rng)


def in_json(rng: random.Random, content: bytes) -> bytes:
    """JSON of another structure, or nested too deeply."""
    if rng.random() < 0.02:
        return rng.choice((b"[", b'{"a":')) * rng.choice((100, 10_000, 100_000))
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return raw(rng, content)
    for _ in range(rng.randint(1, 3)):
        value = within(rng, value)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def npy(rng: random.Random, content: bytes) -> bytes:
    """A NumPy array whose header tells other shapes, numbers or lengths than there are."""
    if rng.random() < 0.3 or content[:6] != b"\x93NUMPY":
        return raw(rng, content)
    length = struct.unpack("<H", content[8:10])[0]
    header, data = content[10 : 10 + length].decode("latin1"), content[10 + length :]
    shapes = (
        "(4611686018427387904,)",
        "(-1,)",
        "(1000000, 1000000)",
        "(0,)",
        "()",
        "(3.5,)",
        "('a',)",
        "(65536, 65536)",
    )
    kinds = (
        "'|O'",
        "'<f8'",
        "'<U8'",
        "[('a', '<f4')]",
        "'|V0'",
        "'<f2'",
        "'>i4'",
        "'<M8[s]'",
        "'|S0'",
        "'<c16'",
        "'?'",
    )
    start, end = header.find("'shape': ") + 9, header.rfind(")") + 1
    what = rng.randrange(5)
    if what == 0:
        header = header[:start] + rng.choice(shapes) + header[end:]
    elif what == 1:
        header = "{'descr': " + rng.choice(kinds) + header[header.find(", 'fortran") :]
    elif what == 2:
        header = rng.choice(("(" * 200, "-" * 9000 + "1", "{" * 90, "[" * 3000, "{}", "a" * 20_000))
    elif what == 3:
        header = header.replace("False", rng.choice(("True", "None", "2")))
    else:
        data = raw(rng, data)
    told = len(header) if rng.random() < 0.8 else rng.choice(NUMBERS)
    version = rng.choice((b"\x01\x00", b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\xff\xff"))
    size = struct.pack("<H", told % 2**16) if version == b"\x01\x00" else struct.pack("<I", told % 2**32)
    return b"\x93NUMPY" + version + size + header.encode("utf-8", "replace") + data


def zipped(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=compression)
    return out.getvalue()


def in_zip(rng: random.Random, content: bytes, member: Damage = npy) -> bytes:
    """An archive with other members, names, ways of packing or sizes told than it had."""
    if rng.random() < 0.25:
        return raw(rng, content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:
        return raw(rng, content)
    if members:
        at = rng.randrange(len(members))
        name, inner = members[at]
        what = rng.randrange(12)
        if what < 5:
            members[at] = name, member(rng, inner)
        elif what == 5:
            del members[at]
        elif what == 6:
            names = (
                "",
                "/etc/x",
                "../../x",
                "a\\b",
                "data.pkl",
                "x" * 3000,
                "é\n",
                "a/b/c.npy",
                name + "\x00",
                "\x1b[2J",
            )
            members[at] = rng.choice(names), inner
        elif what == 7:
            members.append((f"{name}.more", inner[:128] + bytes(rng.choice((1 << 16, 1 << 16, 1 << 20, 1 << 24)))))
        elif what == 8:
            members = [("inner.zip", content)] * rng.choice((1, 3))
        elif what == 9:
            members.append((rng.choice(("more", "more.npy", name[:-1])), rng.randbytes(40)))
        elif what == 10:
            members += [(f"{i}.npy", b"") for i in range(rng.choice((10, 3000)))]
    packings = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    made = bytearray(zipped(members, rng.choice(packings)))
    # The table of contents at the end is what readers believe: flags, packing, checksum, sizes, offset.
    fields = ((8, "<H"), (10, "<H"), (16, "<I"), (20, "<I"), (24, "<I"), (28, "<H"), (30, "<H"), (42, "<I"))
    for _ in range(rng.choice((0, 0, 1, 2))):
        entries = [found.start() for found in re.finditer(b"PK\x01\x02", made) if found.start() + 46 < len(made)]
        if entries:
            offset, form = rng.choice(fields)
            size = struct.calcsize(form)
            at = rng.choice(entries) + offset
            made[at : at + size] = struct.pack(form, rng.choice(NUMBERS) % 2 ** (8 * size))
    return bytes(made)


def in_png(rng: random.Random, content: bytes) -> bytes:
    """A PNG whose chunks are changed, their checksums right."""
    if rng.random() < 0.3 or not content.startswith(b"\x89PNG"):
        return in_jpeg(rng, content)
    chunks, at = [], 8
    while at + 8 <= len(content):
        size = struct.unpack(">I", content[at : at + 4])[0]
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += size + 12
    i = rng.randrange(len(chunks))
    kind, data = chunks[i]
    if kind == b"IHDR" and len(data) == 13:
        sides = struct.pack(">II", *(rng.choice((0, 1, 6, 5000, 65536, 2**31 - 1, 2**32 - 1)) for _ in "ab"))
        data = sides + data[8:] if rng.random() < 0.6 else data[:8] + raw(rng, data[8:])
    elif kind == b"IDAT" and rng.random() < 0.5:
        data = zlib.compress(raw(rng, zlib.decompress(data)) if rng.random() < 0.5 else bytes(1 << 24))
    else:
        data = raw(rng, data)
    chunks[i] = kind, data
    if rng.random() < 0.3:
        extra = rng.choice((b"tRNS", b"PLTE", b"iCCP", b"zTXt", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"gAMA", b"IHDR"))
        body = rng.choice((b"", b"a\0\0" + zlib.compress(bytes(1 << 22)), rng.randbytes(30), b"II*\0\x08\0\0\0"))
        chunks.insert(rng.randrange(len(chunks) + 1), (extra, body))
    made = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return content[:8] + made


def in_jpeg(rng: random.Random, content: bytes) -> bytes:
    """A JPEG with another size in its frame's header, or other bytes."""
    at = content.find(b"\xff\xc0")
    if at >= 0 and rng.random() < 0.3:
        sides = struct.pack(">HH", *(rng.choice((0, 1, 64, 5000, 65535)) for _ in "ab"))
        return content[: at + 5] + sides + content[at + 9 :]
    return raw(rng, content)


def in_safetensors(rng: random.Random, content: bytes) -> bytes:
    """Another header, of the length told or not."""
    if rng.random() < 0.3 or len(content) < 8:
        return raw(rng, content)
    size = struct.unpack("<Q", content[:8])[0]
    header = in_json(rng, content[8 : 8 + size])
    told = len(header) if rng.random() < 0.9 else rng.choice(NUMBERS)
    return struct.pack("<Q", told % 2**64) + header + content[8 + size :]


def in_gzip(rng: random.Random, content: bytes) -> bytes:
    """Other text, packed rightly."""
    import gzip

    try:
        return raw(rng, content) if rng.random() < 0.3 else gzip.compress(raw(rng, gzip.decompress(content)), 1)
    except Exception:
        return raw(rng, content)
