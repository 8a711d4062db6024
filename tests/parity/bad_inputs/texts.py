"""What makes tokens of texts: the tokenizer, the template, the tokens that end an answer."""

import json

import tiny_models

from .case import BAD_FILE, Case

TOKENIZER, TOKENIZER_CONFIG = "model/tokenizer.json", "model/tokenizer_config.json"


def conversations(**data):
    """Rows that need the tokenizer and the template."""

    def spoil(folder, config):
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        tiny_models.write_rows(folder / "rows.jsonl", [{"messages": turns}])
        config["data"]["train"][0]["format"] = "messages"
        config["data"].update(data)

    return spoil


def tokenizer_beyond_embedding(folder, config):
    """<|im_start|> becomes 700; the embedding has 512 rows."""
    content = json.loads((folder / TOKENIZER).read_text())
    content["added_tokens"][0]["id"] = 700
    for added in content["added_tokens"]:  # in the vocabulary ids may have gaps
        content["model"]["vocab"][added["content"]] = added["id"]
    tiny_models.write_json(folder / TOKENIZER, content)
    conversations()(folder, config)


CASES = [
    Case(
        "the tokenizer has ids beyond the embedding",
        BAD_FILE,
        tokenizer_beyond_embedding,
        r"\b700\b.*\b512\b|\b512\b.*\b700\b",
    ),
]
