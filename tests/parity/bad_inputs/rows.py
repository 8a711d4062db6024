"""Rows of data, by themselves."""

import json

import tiny_models

from .case import BAD_FILE, Case

ROWS = "rows.jsonl"


def bad_row(row):
    """The third row, as text or bytes."""

    def spoil(folder, config):
        lines = (folder / ROWS).read_bytes().splitlines()
        lines[2] = row.encode() if isinstance(row, str) else row
        (folder / ROWS).write_bytes(b"\n".join(lines) + b"\n")

    return spoil


def tokens(**row):
    return bad_row(json.dumps({"input_ids": [1, 2, 3], **row}))


def masked(row):
    return {**row, "labels": [-100] * len(row["labels"])}


def all_masked(folder, config):
    tiny_models.write_rows(folder / ROWS, map(masked, tiny_models.token_rows("llama_grouped")))


def first_step_masked(folder, config):
    good = tiny_models.token_rows("llama_grouped")
    tiny_models.write_rows(folder / ROWS, [*map(masked, good), *good])


THIRD = r"rows\.jsonl:3: "

JSON = [
    Case("a row is no JSON", BAD_FILE, bad_row('{"input_ids": [1, 2'), r"rows\.jsonl:3"),
]

TOKENS = [
    Case("a row lacks its key", BAD_FILE, bad_row('{"tokens": [1, 2]}'), THIRD + r".*input_ids"),
    Case("a row has fewer labels than ids", BAD_FILE, tokens(labels=[1, 2]), THIRD),
    Case(
        "a token id is beyond the embedding",
        BAD_FILE,
        tokens(input_ids=[1, 512], labels=[1, 512]),
        r"\b512\b",
    ),
    Case("no row has a target", BAD_FILE, all_masked, r"target|mask"),
    Case("the rows of a step have no target", BAD_FILE, first_step_masked, r"step 1: none of its"),
]


CASES = JSON + TOKENS
