"""Files of rows, whatever a row is."""

import gzip
import json
import os


from .case import BAD_FILE, MISSING, Case, remove, write

ROWS = "rows.jsonl"


def file_named(name, content):
    def spoil(folder, config):
        write(name, content)(folder, config)
        config["data"]["train"][0]["path"] = str(folder / name)

    return spoil


def is_instead(make):
    def spoil(folder, config):
        (folder / ROWS).unlink()
        make(folder / ROWS)

    return spoil


def as_array(change):
    """The rows as one array, its text changed."""

    def spoil(folder, config):
        lines = (folder / ROWS).read_text().splitlines()
        (folder / ROWS).write_text(change(lines))

    return spoil


def packed(change):
    return lambda folder, config: write(ROWS, change(gzip.compress((folder / ROWS).read_bytes())))(
        folder, config
    )


CASES = [
    Case("the data file is missing", MISSING, remove(ROWS), r"rows\.jsonl"),
    Case(
        "the data file is a pipe",
        BAD_FILE,
        is_instead(os.mkfifo),
        r"rows\.jsonl.*not a regular file",
    ),
    Case(
        "the data file is a folder",
        BAD_FILE,
        is_instead(os.mkdir),
        r"rows\.jsonl.*not a regular file",
    ),
    Case(
        "the data file is a link to nothing",
        MISSING,
        is_instead(lambda path: os.symlink("blobs/3f2a", path)),
        r"cannot open .*rows\.jsonl: it is a link to blobs/3f2a, which is not there",
    ),
    Case(
        "the data file is below a file",
        MISSING,
        lambda folder, config: config["data"]["train"][0].update(path=str(folder / ROWS / "a")),
        r"cannot open .*rows\.jsonl/a: Not a directory",
    ),
    Case("the data file is empty", BAD_FILE, write(ROWS, ""), r"rows\.jsonl: there are no rows"),
    Case(
        "the data file has blank lines alone",
        BAD_FILE,
        write(ROWS, "\n  \n\n"),
        r"rows\.jsonl: there are no rows",
    ),
    Case(
        "the data file is an empty list",
        BAD_FILE,
        write(ROWS, "[]"),
        r"rows\.jsonl: there are no rows",
    ),
    Case(
        "the data file is UTF-16",
        BAD_FILE,
        lambda folder, config: write(ROWS, (folder / ROWS).read_text().encode("utf-16"))(
            folder, config
        ),
        r"rows\.jsonl: encoded as UTF-16: write it as UTF-8",
    ),
    Case(
        "an array lacks a comma",
        BAD_FILE,
        as_array(lambda lines: "[" + ",\n".join(lines[:4]) + "\n" + lines[4] + "]"),
        r"rows\.jsonl\[4\]: not valid JSON, line 5: ',' or '\]' is missing",
    ),
    Case(
        "an array is cut off",
        BAD_FILE,
        as_array(lambda lines: ("[" + ",\n".join(lines) + "]")[:-40]),
        r"rows\.jsonl\[79\]: not valid JSON, line 80: the file ends here, before the array's '\]'",
    ),
    Case(
        "an array has a bad row",
        BAD_FILE,
        as_array(lambda lines: "[" + ",".join([*lines[:4], '{"input_ids": 1}', *lines]) + "]"),
        r"rows\.jsonl\[4\]: 'input_ids' must be a list, not number",
    ),
    Case(
        "something follows an array",
        BAD_FILE,
        as_array(lambda lines: "[" + ",\n".join(lines[:4]) + "]\n{}"),
        r"rows\.jsonl: not valid JSON, line 5: the array's '\]' is not the end",
    ),
    Case(
        "rows over several lines",
        BAD_FILE,
        as_array(lambda lines: "\n".join(json.dumps(json.loads(line), indent=1) for line in lines)),
        r"rows\.jsonl: its first object goes over \d+ lines: write one object a line",
    ),
    Case(
        "an object with two lists of rows",
        BAD_FILE,
        as_array(lambda lines: f'{{"train": [{lines[0]}], "test": [{lines[1]}]}}'),
        r"rows\.jsonl: an object with several lists of rows: 'train', 'test'",
    ),
    Case(
        "a packed file is cut off",
        BAD_FILE,
        packed(lambda data: data[: len(data) // 2]),
        r"rows\.jsonl: the gzip data is cut off: copy or download the file again",
    ),
    Case(
        "a packed file is damaged",
        BAD_FILE,
        packed(lambda data: data[:-6] + bytes([data[-6] ^ 1]) + data[-5:]),
        r"rows\.jsonl: the gzip data is damaged \(incorrect data check\)",
    ),
    Case(
        "a table without a column for tokens",
        BAD_FILE,
        file_named("rows.csv", "prompt,completion\na,b\n"),
        r"rows\.csv:2: key 'input_ids' is missing; there is 'prompt', 'completion': fields says",
    ),
    Case(
        "a table with a ragged row",
        BAD_FILE,
        file_named("rows.csv", "prompt,completion\na,b,c\n"),
        r"rows\.csv:2: 3 fields, but the header names 2: a separator or a line end in a text must",
    ),
    Case(
        "a table with an open quote",
        BAD_FILE,
        file_named("rows.csv", 'prompt,completion\n"a,b\n'),
        r"rows\.csv:2: the quote that opens here is not closed",
    ),
    Case(
        "a table of another name",
        BAD_FILE,
        write(ROWS, "prompt,completion\n"),
        r"rows\.jsonl:1: not valid JSON at byte 1",
    ),
    Case(
        "a Parquet file that is cut off",
        BAD_FILE,
        write(ROWS, b"PAR1\x15\x04\x15\x00"),
        r"rows\.jsonl: the Parquet file is damaged: .* copy or write it again",
    ),
    Case(
        "a web page",
        BAD_FILE,
        write(ROWS, "<!DOCTYPE html><html>Not found</html>"),
        r"rows\.jsonl: a web page: download the file itself",
    ),
]
