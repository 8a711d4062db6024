"""What makes tokens of texts: the tokenizer, the template, the tokens that end an answer."""

import json
import os

import tiny_models

from .case import BAD_FILE, MISSING, USAGE, Case, edit_json, in_turn, remove, write

TOKENIZER, TOKENIZER_CONFIG = "model/tokenizer.json", "model/tokenizer_config.json"


def conversations(**data):
    """Rows that need the tokenizer and the template."""

    def spoil(folder, config):
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        tiny_models.write_rows(folder / "rows.jsonl", [{"messages": turns}])
        config["data"]["train"][0]["format"] = "messages"
        config["data"].update(data)

    return spoil


def texts(folder, config):
    tiny_models.write_rows(folder / "rows.jsonl", [{"text": "abc"}])
    config["data"]["train"][0]["format"] = "text"


def tokenizer_beyond_embedding(folder, config):
    """<|im_start|> becomes 700; the embedding has 512 rows."""
    content = json.loads((folder / TOKENIZER).read_text())
    content["added_tokens"][0]["id"] = 700
    for added in content["added_tokens"]:  # in the vocabulary ids may have gaps
        content["model"]["vocab"][added["content"]] = added["id"]
    tiny_models.write_json(folder / TOKENIZER, content)
    conversations()(folder, config)


def tokenizer(change):
    def spoil(folder, config):
        content = json.loads((folder / TOKENIZER).read_text())
        change(content)
        tiny_models.write_json(folder / TOKENIZER, content)
        conversations()(folder, config)

    return spoil


def template(text):
    return in_turn(
        conversations(),
        lambda folder, config: edit_json(folder / TOKENIZER_CONFIG, chat_template=text),
    )


def only(name, content):
    """A tokenizer of another kind alone."""
    return in_turn(conversations(), remove(TOKENIZER), write(f"model/{name}", content))


CASES = [
    Case(
        "the tokenizer has ids beyond the embedding",
        BAD_FILE,
        tokenizer_beyond_embedding,
        r"\b700\b.*\b512\b|\b512\b.*\b700\b",
    ),
    Case(
        "there is no tokenizer",
        MISSING,
        in_turn(conversations(), remove(TOKENIZER)),
        r"/model: there is none of tokenizer\.json, tekken\.json, tokenizer\.model",
    ),
    Case(
        "the tokenizer is cut off",
        BAD_FILE,
        in_turn(
            conversations(),
            lambda folder, config: os.truncate(folder / TOKENIZER, 1000),
        ),
        r"tokenizer\.json: not valid JSON at byte 1001",
    ),
    Case(
        "the tokenizer is of another kind",
        BAD_FILE,
        tokenizer(lambda content: content["model"].update(type="WordPiece")),
        r"tokenizer\.json: model\.type: 'WordPiece' is not supported",
    ),
    Case(
        "a token's id is text",
        BAD_FILE,
        tokenizer(lambda content: content["model"]["vocab"].update(a="97")),
        r"tokenizer\.json: model\.vocab.*'?a'?.*integer",
    ),
    Case(
        "two tokens have one id",
        BAD_FILE,
        tokenizer(lambda content: content["model"]["vocab"].update(a=98)),
        r"tokenizer\.json: model\.vocab.*98",
    ),
    Case(
        "the tokenizer has no model",
        BAD_FILE,
        tokenizer(lambda content: content.pop("model")),
        r"tokenizer\.json: model: an object is needed",
    ),
    Case(
        "a merge of what is no token",
        BAD_FILE,
        tokenizer(lambda content: content["model"].update(merges=["a zz"])),
        r"tokenizer\.json: model\.merges\[0\].*zz",
    ),
    Case(
        "a pattern that is no regular expression",
        BAD_FILE,
        tokenizer(
            lambda content: content.update(
                pre_tokenizer={
                    "type": "Split",
                    "pattern": {"Regex": "(a"},
                    "behavior": "Isolated",
                    "invert": False,
                }
            )
        ),
        r"tokenizer\.json: pre_tokenizer.*\(a",
    ),
    Case(
        "tokenizer_config.json is no JSON",
        BAD_FILE,
        in_turn(conversations(), write(TOKENIZER_CONFIG, "{,}")),
        r"tokenizer_config\.json: not valid JSON at byte 2",
    ),
    Case(
        "generation_config.json is no JSON",
        BAD_FILE,
        in_turn(conversations(), write("model/generation_config.json", "{,}")),
        r"generation_config\.json: .*line 1, column 2",
    ),
    Case(
        "generation_config.json names an end that is no token",
        BAD_FILE,
        write("model/generation_config.json", '{"eos_token_id": "<|im_end|>"}'),
        r"generation_config\.json: 'eos_token_id' must be a token id or a list of them",
        command=("generate", "--prompt=a"),
    ),
    Case(
        "the tokenizer names no end of a text",
        BAD_FILE,
        in_turn(
            texts, lambda folder, config: edit_json(folder / TOKENIZER_CONFIG, eos_token=None)
        ),
        r"rows\.jsonl: the tokenizer names no eos_token to end a text with",
    ),
    Case(
        "sentencepiece's file is none",
        BAD_FILE,
        only("tokenizer.model", b"\xff\xfe garbage"),
        r"model/tokenizer\.model: ",
    ),
    Case(
        "tekken's file is none",
        BAD_FILE,
        only("tekken.json", '{"config": {}}'),
        r"model/tekken\.json: ",
    ),
    Case(
        "there is no template",
        USAGE,
        in_turn(
            conversations(),
            lambda folder, config: edit_json(folder / TOKENIZER_CONFIG, chat_template=None),
        ),
        r"no chat_template\.jinja in .*: set data\.chat_template to one of .*chatml",
    ),
    Case(
        "the template's file is missing",
        MISSING,
        conversations(chat_template="absent.jinja"),
        r"data\.chat_template: cannot open absent\.jinja: No such file",
    ),
    Case(
        "the template is broken",
        BAD_FILE,
        template("{% for message in messages %}{{ message['content'] }}"),
        r"chat template .*/model.*line 1.*endfor.*data\.chat_template",
    ),
    Case(
        "the template's filter is unknown",
        BAD_FILE,
        template("{{ messages | jsonify }}"),
        r"chat template .*/model.*line 1.*jsonify",
    ),
    Case(
        "the template counts without end",
        BAD_FILE,
        template("{% for i in range(2000000000) %}{{ i }}{% endfor %}"),
        r"rows\.jsonl:1: chat template of .*/model: line 1: Range too big",
    ),
    Case(
        "a built-in template for other tokens",
        USAGE,
        conversations(chat_template="llama3"),
        r"chat template llama3 writes <\|\w+\|>, which the tokenizer does not have",
    ),
]
