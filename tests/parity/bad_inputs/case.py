"""What a case of bad input is, and ways to spoil a file."""

import json
import struct
from pathlib import Path
from typing import Callable, NamedTuple

import tiny_models

# launch/README.md has the table.
USAGE, BAD_FILE, MISSING, CANNOT_CREATE, CANNOT_WRITE, NOT_FINITE = 64, 65, 66, 73, 74, 80
AT = r"run\.yaml:\d+: "  # where the config's keys are


def nothing(folder, config):
    pass


class Case(NamedTuple):
    """A run that works, what spoils it, and how it must end."""

    name: str
    code: int
    spoil: Callable[[Path, dict], None]  # of the run's folder and its config
    says: str  # a pattern of the one line on stderr
    ranks: int = 2
    wrapper: tuple = ()
    command: tuple = ("train",)
    config_text: Callable[[bytes], bytes] = lambda text: text  # of the config as it is written
    config_name: str = "run.yaml"  # what the program is given
    starts: int = 1  # each of which must end so


def in_turn(*spoils):
    def spoil(folder, config):
        for each in spoils:
            each(folder, config)

    return spoil


def keys(section, **values):
    """Sets keys of a section of the config."""
    return lambda folder, config: config.setdefault(section, {}).update(values)


def edit_json(path, **values):
    tiny_models.write_json(path, {**json.loads(path.read_text()), **values})


def model_config(**values):
    """Sets keys of the model's config.json; None takes one away."""
    return lambda folder, config: edit_json(folder / "model" / "config.json", **values)


def write(name, text):
    """A file of the run's folder in other words, bytes or text."""

    def spoil(folder, config):
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)

    return spoil


def remove(*names):
    def spoil(folder, config):
        for name in names:
            (folder / name).unlink()

    return spoil


def replaced(name, old, new, count=1):
    """A file of the run's folder with bytes that it has in place of others."""

    def spoil(folder, config):
        content = (folder / name).read_bytes()
        if old not in content:
            raise ValueError(f"{name} has no {old!r}")
        (folder / name).write_bytes(content.replace(old, new, count))

    return spoil


def lfs_pointer(name):
    """What Git has in place of a file that it has not fetched."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n"
    return write(f"model/{name}", pointer)


def read_header(path):
    """The header of a safetensors file and the bytes behind it."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def write_header(path, header, rest):
    """`header` as JSON, or as bytes that are none."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + rest)
