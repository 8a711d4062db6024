#!/usr/bin/env python3
"""safetensors_beside_python.py VERDICTS [NUMBER] [SEED]: mutated files, judged by our reader and by
the `safetensors` package (written in Rust), the format's reference.

What we take the package must take, and find the same tensors in it. What we refuse although it does
not is told by reason: such reasons are listed in STRICTER, and a new one fails, too.
"""

import json
import random
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import safetensors

# Our words -> why we are right to refuse, or what we leave out.
STRICTER = {
    "is not supported": "dtypes that no model here has (F8, F4, complex, unsigned)",
    "appears twice": "of equal keys the package takes the last",
    "more than 8 numbers": "rank above 8",
    "needs dtype, shape and two data_offsets, and nothing else": "keys that the package passes over",
    "does not begin with '{'": "blanks before the header, which the format's text forbids",
    "longer than 4096 bytes or holds a NUL": "names that no file system or log can show",
    "overlaps": "empty tensors inside the range of another one",
    "is not in [0, 9223372036854775806]": "a dimension beyond that, beside one of 0",
    "exceeds 2^63 bytes": "a product beyond 2^63 beside a dimension of 0",
}
DTYPES = ["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
OTHERS = ["U16", "U32", "U64", "F8_E4M3", "F8_E5M2", "C64", "F4", "f32", "", "F128"]
BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
NUMBERS = [0, 1, 2, 3, 8, 255, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -1, 1.0]
WORDS = ["null", "true", "[]", "{}", "-0", "1e0", "0.0", '"w0"', '"dtype"', '"x":1,', " ", "\n", "\0", "\\u0000"]
WORDS += ["\\ud800", "\u00e4", '"__metadata__":{},', '"__metadata__":{"a":1},', "/**/", ",", "NaN", "\ufeff"]


def good(draw):
    """Tensors of a file that all take, as a list of [name, entry], and its data's bytes."""
    tensors, end = [], 0
    for i in range(draw.randrange(5)):
        dtype = draw.choice(DTYPES)
        shape = [draw.choice([0, 1, 1, 2, 3]) for _ in range(draw.randrange(4))]
        size = BYTES.get(dtype, 1)
        for dim in shape:
            size *= dim
        tensors.append([f"w{i}", {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}])
        end += size
    if draw.random() < 0.3:
        tensors.append(["__metadata__", {"format": "pt"}])
    draw.shuffle(tensors)
    return tensors, end


def change_tensors(tensors, draw):
    if not tensors:
        return
    tensor = draw.choice(tensors)
    name, entry = tensor
    if name == "__metadata__" or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        return
    how = draw.randrange(8)
    if how == 0:
        tensor[0] = draw.choice(["", "w0", "w1", "__metadata__", "x" * 5000, "\u00e4", "a\0b", "\x1b"])
    elif how == 1:
        entry["dtype"] = draw.choice(DTYPES + OTHERS)
    elif how == 2 and entry["shape"]:
        entry["shape"][draw.randrange(len(entry["shape"]))] = draw.choice(NUMBERS)
    elif how == 3:
        entry["shape"] = entry["shape"] + [1] * draw.randrange(12)
    elif how == 4:
        entry["data_offsets"][draw.randrange(2)] = draw.choice(NUMBERS)
    elif how == 5:
        shift = draw.choice([-1, 1, 4])
        entry["data_offsets"] = [offset + shift for offset in entry["data_offsets"]]
    elif how == 6:
        entry.pop(draw.choice(list(entry)))
    else:
        entry[draw.choice(["strides", "x"])] = draw.choice(NUMBERS)


def mutated(draw):
    tensors, size = good(draw)
    while draw.random() < 0.4:
        change_tensors(tensors, draw)
    items = [json.dumps(name) + ":" + json.dumps(entry) for name, entry in tensors]
    if items and draw.random() < 0.05:
        items.append(draw.choice(items))
    header = bytearray(("{" + ",".join(items) + "}" + " " * draw.randrange(9)).encode())
    while draw.random() < 0.3:
        at = draw.randrange(len(header))
        how = draw.randrange(4)
        if how == 0:
            header[at] ^= 1 << draw.randrange(8)
        elif how == 1:
            del header[at : at + draw.randrange(1, 6)]
        elif how == 2:
            header[at:at] = draw.choice(WORDS).encode()
        else:
            header[at : at + 1] = draw.choice(WORDS).encode()
        header = header or bytearray(b" ")
    length = len(header)
    if draw.random() < 0.05:
        length = draw.choice([0, 1, length - 1, length + 1, 10**8, 10**8 + 1, 2**63, 2**64 - 1])
    if draw.random() < 0.1:
        size += draw.choice([-1, 1, 4, -4])
    data = struct.pack("<Q", length) + bytes(header) + bytes(max(size, 0))
    return data if draw.random() < 0.97 else data[: draw.randrange(len(data))]


def of_package(data):
    """Why the package refuses it; None if it takes it."""
    try:
        safetensors.deserialize(data)
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a refusal
        return f"{type(error).__name__}: {error}"


def main():
    verdicts, number, seed = sys.argv[1], int((sys.argv[2:] or [10000])[0]), int((sys.argv[3:] or [1])[0])
    draw = random.Random(seed)
    files = [mutated(draw) for _ in range(number)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.safetensors" for i in range(number)]
        for path, data in zip(paths, files):
            path.write_bytes(data)
        asked = subprocess.run([verdicts], input="\n".join(map(str, paths)) + "\n", capture_output=True, text=True)
        ours = asked.stdout.splitlines()
    if asked.returncode != 0 or len(ours) != number:
        sys.exit(f"{len(ours)} of {number} verdicts, exit {asked.returncode}: {asked.stderr}")
    counts, looser, unlisted = Counter(), [], []
    for data, mine in zip(files, ours):
        theirs = of_package(data)
        if mine == "taken" and theirs is not None:
            looser.append((data, theirs))
        elif mine != "taken" and theirs is None:
            reason = next((words for words in STRICTER if words in mine), None)
            counts["stricter: " + (reason or "?")] += 1
            if reason is None:
                unlisted.append((data, re.sub(r"^\S+: ", "", mine)))
        else:
            counts["both take it" if theirs is None else "both refuse it"] += 1
    for what, count in counts.most_common():
        print(f"{count:7}  {what}" + (f" ({STRICTER[what[10:]]})" if what[10:] in STRICTER else ""))
    for data, why in looser[:10]:
        print(f"we take what the package refuses ({why}): {data[:300]!r}")
    for data, why in unlisted[:10]:
        print(f"we refuse for a reason that is not listed ({why}): {data[:300]!r}")
    print(f"{number} files, {len(looser)} of them taken by us alone, {len(unlisted)} refused for no listed reason")
    sys.exit(1 if looser or unlisted else 0)


if __name__ == "__main__":
    main()
