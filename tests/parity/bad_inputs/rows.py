"""Rows of data, by themselves."""

import json

import tiny_models

from .case import BAD_FILE, Case, in_turn, write

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


def rows(format, *all_rows, **data):
    """A file of these rows alone."""

    def spoil(folder, config):
        tiny_models.write_rows(folder / ROWS, all_rows)
        config["data"]["train"][0]["format"] = format
        config["data"].update(data)

    return spoil


def turns(*more, beside={}):
    """A conversation that begins with a question."""
    return rows("messages", {"messages": [{"role": "user", "content": "a"}, *more], **beside})


def masked(row):
    return {**row, "labels": [-100] * len(row["labels"])}


def all_masked(folder, config):
    tiny_models.write_rows(folder / ROWS, map(masked, tiny_models.token_rows("llama_grouped")))


def first_step_masked(folder, config):
    good = tiny_models.token_rows("llama_grouped")
    tiny_models.write_rows(folder / ROWS, [*map(masked, good), *good])


def shifted_already(folder, config):
    """Labels as a loss takes them that does not shift: each row's next tokens."""
    good = tiny_models.token_rows("llama_grouped")
    shifted = [{**row, "labels": row["labels"][1:] + [-100]} for row in good]
    tiny_models.write_rows(folder / ROWS, shifted)


def learnt_beyond_the_cut(folder, config):
    row = {"input_ids": [5] * 40, "labels": [-100] * 30 + [5] * 10}
    tiny_models.write_rows(folder / ROWS, [row] * 8)
    config["data"]["sequence_len"] = 16


THIRD = r"rows\.jsonl:3: "

JSON = [
    Case("a row is no JSON", BAD_FILE, bad_row('{"input_ids": [1, 2'), r"rows\.jsonl:3"),
    Case(
        "a row is not UTF-8",
        BAD_FILE,
        bad_row(b'{"input_ids": [1, 2], "id": "caf\xe9"}'),
        THIRD + r"not UTF-8 at byte 33: save the file as UTF-8",
    ),
    Case(
        "a row has a byte order mark inside",
        BAD_FILE,
        bad_row('{"input_ids": [1, 2],\ufeff "labels": [1, 2]}'),
        THIRD + r"not valid JSON at byte 22",
    ),
    Case(
        "a row has half a surrogate pair",
        BAD_FILE,
        bad_row(r'{"input_ids": [1, 2], "id": "\ud83d"}'),
        THIRD + r"not valid JSON at byte \d+: .*surrogate",
    ),
    Case(
        "a row has a NUL",
        BAD_FILE,
        bad_row(b'{"input_ids": [1, 2]}\0'),
        THIRD + r"not valid JSON at byte 22: a NUL: the file is damaged",
    ),
    Case(
        "a row has a key twice",
        BAD_FILE,
        bad_row('{"input_ids": [1, 2], "input_ids": [3, 4]}'),
        THIRD + r"key 'input_ids' stands twice in one object: keep one of them",
    ),
    Case(
        "a row is nested deeply",
        BAD_FILE,
        bad_row('{"input_ids": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        THIRD + r"JSON nested deeper than 64 levels",
    ),
    Case(
        "a line has two rows",
        BAD_FILE,
        bad_row('{"input_ids": [1, 2]} {"input_ids": [3, 4]}'),
        THIRD + r"not valid JSON at byte 23",
    ),
    Case(
        "a row has Python's quotes",
        BAD_FILE,
        bad_row("{'input_ids': [1, 2]}"),
        THIRD + r"not valid JSON at byte 2",
    ),
    Case(
        "a row has no number",
        BAD_FILE,
        bad_row('{"input_ids": [1, NaN]}'),
        THIRD + r"not valid JSON at byte 19",
    ),
    Case(
        "a row is a list",
        BAD_FILE,
        bad_row("[1, 2, 3]"),
        THIRD + r"a row is a JSON object, not array",
    ),
    Case(
        "a row has a terminal's codes",
        BAD_FILE,
        bad_row(r'{"\u001b[2J\u0007": 1}'),
        THIRD + r"key 'input_ids' is missing; there is '\\x1b\[2J\\x07'",
    ),
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
    Case(
        "a token id is negative",
        BAD_FILE,
        tokens(input_ids=[1, -1]),
        THIRD + r"'input_ids'\[1\] is -1, not in \[0, 512\)",
    ),
    Case(
        "a token id is text",
        BAD_FILE,
        tokens(input_ids=[1, "2"]),
        THIRD + r"'input_ids'\[1\] must be an integer, not string",
    ),
    Case(
        "a token id has a fraction",
        BAD_FILE,
        tokens(input_ids=[1, 2.0]),
        THIRD + r"'input_ids'\[1\] must be an integer, not a number with a fraction",
    ),
    Case(
        "a token id is beyond 64 bits",
        BAD_FILE,
        tokens(input_ids=[1, 1 << 70]),
        THIRD + r"the integer 1180591620717411303424 is beyond 64 bits",
    ),
    Case(
        "the token ids are text",
        BAD_FILE,
        tokens(input_ids="[1, 2]"),
        THIRD + r"'input_ids' must be a list, not string",
    ),
    Case(
        "the labels are null",
        BAD_FILE,
        tokens(labels=None),
        THIRD + r"'labels' must be a list, not null",
    ),
    Case(
        "a row is packed already",
        BAD_FILE,
        tokens(position_ids=[0, 1, 0]),
        THIRD + r"'position_ids'\[2\] is 0, not 2: rows that are packed already",
    ),
    Case(
        "a row's mask has a hole",
        BAD_FILE,
        tokens(attention_mask=[1, 0, 1]),
        THIRD + r"'attention_mask'\[1\] is 0 between tokens that are attended",
    ),
    Case(
        "a row has no tokens", BAD_FILE, tokens(input_ids=[]), THIRD + r"the row has no tokens"
    ),
    Case(
        "the labels are shifted already",
        BAD_FILE,
        shifted_already,
        r"rows\.jsonl: in all of its rows that tell \(\d+; the first: .*rows\.jsonl:\d+\) 'labels' are "
        r"shifted already, .*: write labels\[i\] = input_ids\[i\] where token i is to be learnt",
    ),
    Case("no row has a target", BAD_FILE, all_masked, r"target|mask"),
    Case("the rows of a step have no target", BAD_FILE, first_step_masked, r"step 1: none of its"),
    Case(
        "all targets are cut off",
        BAD_FILE,
        learnt_beyond_the_cut,
        r"none of the 8 examples \(first: .*rows\.jsonl:1\) has .* within data\.sequence_len 16",
    ),
]

TURNS = [
    Case(
        "a conversation without an answer",
        BAD_FILE,
        turns(),
        r"rows\.jsonl:1: there is no assistant turn to learn from",
    ),
    Case(
        "a turn of nobody",
        BAD_FILE,
        turns({"content": "b"}),
        r"rows\.jsonl:1: 'messages'\[1\]: key 'role' is missing; there is 'content'",
    ),
    Case(
        "a turn of somebody unknown",
        BAD_FILE,
        turns({"role": "gpt", "content": "b"}),
        r"rows\.jsonl:1: 'messages'\[1\]: role 'gpt' is none of .*set format sharegpt",
    ),
    Case(
        "a turn of a number",
        BAD_FILE,
        turns({"role": "assistant", "content": 5}),
        r"rows\.jsonl:1: 'messages'\[1\]: 'content' must be a string .*, not number",
    ),
    Case(
        "a turn of nothing",
        BAD_FILE,
        turns({"role": "assistant", "content": None}),
        r"rows\.jsonl:1: 'messages'\[1\]: 'content' is null in a turn without tool_calls",
    ),
    Case(
        "a turn with a picture",
        BAD_FILE,
        turns(
            {"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
        ),
        r"'content'\[0\]: a part of type \"image_url\": only parts of type \"text\" are trained",
    ),
    Case(
        "a conversation that is text",
        BAD_FILE,
        rows("messages", {"messages": "hello"}),
        r"rows\.jsonl:1: 'messages' must be a list of messages, not string",
    ),
    Case(
        "a conversation of no turns",
        BAD_FILE,
        rows("messages", {"messages": []}),
        r"rows\.jsonl:1: 'messages' is empty",
    ),
    Case(
        "a conversation with a judgement",
        BAD_FILE,
        turns({"role": "assistant", "content": "b"}, beside={"label": True}),
        r"rows\.jsonl:1: 'label' is not supported: rows marked as good or bad",
    ),
    Case(
        "the template refuses a conversation",
        BAD_FILE,
        in_turn(
            turns({"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}),
            lambda folder, config: (folder / "model" / "chat_template.jinja").write_text(
                "{% if messages | length > 2 %}{{ raise_exception('turns must alternate') }}"
                "{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
                "<|im_end|>\n{% endfor %}"
            ),
        ),
        r"rows\.jsonl:1: .*turns must alternate",
    ),
    Case(
        "an empty answer",
        BAD_FILE,
        rows("prompt_completion", {"prompt": "a", "completion": ""}),
        r"rows\.jsonl:1: 'completion' is empty",
    ),
    Case(
        "a prompt of text and an answer of turns",
        BAD_FILE,
        rows("prompt_completion", {"prompt": "a", "completion": [{"role": "assistant"}]}),
        r"rows\.jsonl:1: 'prompt' and 'completion' must both be strings or both be lists",
    ),
    Case(
        "turns, and no template for them",
        BAD_FILE,
        in_turn(
            rows(
                "prompt_completion",
                {
                    "prompt": [{"role": "user", "content": "a"}],
                    "completion": [{"role": "assistant", "content": "b"}],
                },
            ),
            write("model/tokenizer_config.json", '{"eos_token": "<|im_end|>"}'),
        ),
        r"rows\.jsonl:1: a conversation needs a chat template.*no chat_template\.jinja in .*chatml",
    ),
    Case(
        "a text that is a number",
        BAD_FILE,
        rows("text", {"text": 5}),
        r"rows\.jsonl:1: 'text' must be a string, not number",
    ),
    Case(
        "a question without an answer",
        BAD_FILE,
        rows("alpaca", {"instruction": "a", "input": "", "output": ""}),
        r"rows\.jsonl:1: 'output' is empty: there is nothing to learn",
    ),
    Case(
        "rows of no known format",
        BAD_FILE,
        rows("auto", {"question": "a", "answer": "b"}),
        r"rows\.jsonl:1: no format is known by the keys of this row, 'question', 'answer': set",
    ),
    Case(
        "rows of two formats",
        BAD_FILE,
        rows("auto", {"text": "a", "prompt": "a", "completion": "b"}),
        r"rows\.jsonl:1: the row may be prompt_completion \(.*\) or text \(.*\): set format",
    ),
    Case(
        "all rows are passed over",
        BAD_FILE,
        rows("tokens", {"input_ids": "x"}, on_bad_row="skip"),
        r"rows\.jsonl:1: 'input_ids' must be a list",
    ),
]


CASES = JSON + TOKENS + TURNS
