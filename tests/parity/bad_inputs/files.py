"""Files of rows, whatever a row is."""

import os


from .case import BAD_FILE, MISSING, Case, remove

ROWS = "rows.jsonl"


def is_instead(make):
    def spoil(folder, config):
        (folder / ROWS).unlink()
        make(folder / ROWS)

    return spoil


CASES = [
    Case("the data file is missing", MISSING, remove(ROWS), r"rows\.jsonl"),
    Case(
        "the data file is a pipe",
        BAD_FILE,
        is_instead(os.mkfifo),
        r"rows\.jsonl.*not a regular file",
    ),
]
