"""older_symbols.py FILE GLIBC GLIBCXX: lets a library load with libc and libstdc++ as old as that.

Debian's libevent and ICU ask for three symbols that are newer. Each becomes a reference without a
version, which any definition answers: libstdc++'s older one, or arc4random.c's (entry.sh loads it
where libc has none). Anything else that is too new is an error.
"""

import struct
import sys
from pathlib import Path

REPLACED = {
    "arc4random",
    "arc4random_buf",
    "_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE",  # std::condition_variable::wait
}
ANY_VERSION, WEAK = 1, 2  # VER_NDX_GLOBAL, VER_FLG_WEAK


def sections(data):
    """{name: (offset, size)} of a 64-bit little-endian ELF file."""
    start, (size, count, names) = (
        struct.unpack_from("<Q", data, 40)[0],
        struct.unpack_from("<3H", data, 58),
    )
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, start + i * size) for i in range(count)]
    texts = headers[names][4]
    return {text(data, texts + h[0]): (h[4], h[5]) for h in headers}


def text(data, offset):
    return data[offset : data.index(b"\0", offset)].decode()


def too_new(version, oldest):
    family, _, number = version.partition("_")
    parts = number.split(".")
    return (
        family in oldest
        and all(p.isdigit() for p in parts)
        and [int(p) for p in parts] > oldest[family]
    )


def weakened_versions(data, places, oldest):
    """Marks the needs of versions that are too new as weak; returns their numbers."""
    found, entry, strings = set(), places[".gnu.version_r"][0], places[".dynstr"][0]
    while True:
        _, count, _, first, following = struct.unpack_from("<HHIII", data, entry)
        at = entry + first
        for _ in range(count):
            _, flags, number, name, step = struct.unpack_from("<IHHII", data, at)
            if too_new(text(data, strings + name), oldest):
                struct.pack_into("<H", data, at + 4, flags | WEAK)
                found.add(number)
            at += step
        if not following:
            return found
        entry += following


def main():
    path = Path(sys.argv[1])
    oldest = {
        family: [int(part) for part in version.split(".")]
        for family, version in zip(("GLIBC", "GLIBCXX"), sys.argv[2:])
    }
    data = bytearray(path.read_bytes())
    places = sections(data)
    if ".gnu.version_r" not in places:
        return
    numbers = weakened_versions(data, places, oldest)
    (symbols, size), versions, strings = (
        places[".dynsym"],
        places[".gnu.version"][0],
        places[".dynstr"][0],
    )
    for index in range(size // 24):
        at = versions + 2 * index
        if struct.unpack_from("<H", data, at)[0] & 0x7FFF not in numbers:
            continue
        name = text(data, strings + struct.unpack_from("<I", data, symbols + 24 * index)[0])
        if name not in REPLACED:
            sys.exit(f"{path.name} needs a newer {name} than of {' and '.join(sys.argv[2:])}")
        struct.pack_into("<H", data, at, ANY_VERSION)
    if numbers:
        path.write_bytes(data)


if __name__ == "__main__":
    main()
