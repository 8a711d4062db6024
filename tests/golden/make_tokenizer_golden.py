#!/usr/bin/env python3
"""Writes tests/golden/data/: small tokenizers of every kind that fttrain reads, and what Hugging Face
`tokenizers` (ids, decoded text) and Jinja2 (rendered conversations) make of a list of texts.

    python3 tests/golden/make_tokenizer_golden.py tests/golden/data     # pip: tokenizers, jinja2

Each tokenizer is trained on the sentences below, so the files are small and belong to this project.
"""

import itertools
import json
import random
import sys
import unicodedata
from pathlib import Path

import jinja2
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

SUBJECTS = [
    "the heron",
    "our neighbour",
    "a careful pilot",
    "Nadia",
    "the third engine",
    "my brother",
]
VERBS = ["doesn't need", "carried", "they'll repair", "wouldn't paint", "counted", "is measuring"]
OBJECTS = [
    "12 lamps",
    "a 3500 kg crate",
    "the café's roof",
    "naïve maps",
    "two red kites",
    "東京行きの電車",
]
CORPUS = [
    f"{s.capitalize()} {v} {o}, {e}"
    for s, v, o, e in itertools.product(
        SUBJECTS,
        VERBS,
        OBJECTS,
        ["I'm told.", "isn't that odd?\n", "    (see page 48)", "über alles 🚀!"],
    )
]

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
]


def isolated(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def byte_level(prefix_space=False, use_regex=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=use_regex)


def train(tokenizer, special, size, alphabet=True):
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else [],
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def bytewise(pre, special, normalizer=None, size=420, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    train(tokenizer, special, size)
    if normalizer:
        tokenizer.normalizer = normalizer
    return tokenizer


def piecewise(pre=None, normalizer=None, decoder=None):
    """Characters and byte fallback, as converters of sentencepiece models write them."""
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if pre:
        tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    train(tokenizer, special, 480, alphabet=False)
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = spec["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.decoder = decoder
    return tokenizer


def with_bos(tokenizer, bos, eos=None):
    before = f"{bos} $A" + (f" {eos}" if eos else "")
    tokens = [(t, tokenizer.token_to_id(t)) for t in (bos, eos) if t]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=before, pair=f"{bos} $A $B", special_tokens=tokens
    )
    return tokenizer


def make():
    chatml = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    llama = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
    ]
    sequence = pre_tokenizers.Sequence
    yield "gpt2", bytewise(byte_level(use_regex=True), ["<|endoftext|>"])
    yield (
        "smollm2",
        bytewise(sequence([pre_tokenizers.Digits(True), byte_level(use_regex=True)]), chatml),
    )
    yield (
        "llama3",
        with_bos(
            bytewise(sequence([isolated(LLAMA3), byte_level()]), llama, ignore_merges=True),
            "<|begin_of_text|>",
        ),
    )
    yield "qwen2", bytewise(sequence([isolated(QWEN2), byte_level()]), chatml, normalizers.NFC())
    yield (
        "deepseek",
        with_bos(
            bytewise(
                sequence([isolated(p) for p in DEEPSEEK] + [byte_level()]), ["<bos>", "<eos>"]
            ),
            "<bos>",
            "<eos>",
        ),
    )
    flags = bytewise(
        sequence([pre_tokenizers.Digits(False), byte_level(True, True)]),
        ["<|pad|>"],
        normalizers.NFKC(),
    )
    flags.add_tokens(
        [
            AddedToken("[left]", lstrip=True),
            AddedToken("[right]", rstrip=True),
            AddedToken("word", single_word=True),
            AddedToken("word!", single_word=True),
            AddedToken("ﬁx", normalized=True),
            AddedToken("é+", normalized=False),
        ]
    )
    yield "flags", flags
    yield (
        "gemma",
        with_bos(
            piecewise(
                normalizer=normalizers.Replace(" ", "▁"),
                decoder=decoders.Sequence(
                    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
                ),
            ),
            "<s>",
        ),
    )
    yield (
        "llama2",
        with_bos(
            piecewise(
                normalizer=normalizers.Sequence(
                    [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
                ),
                decoder=decoders.Sequence(
                    [
                        decoders.Replace("▁", " "),
                        decoders.ByteFallback(),
                        decoders.Fuse(),
                        decoders.Strip(" ", 1, 0),
                    ]
                ),
            ),
            "<s>",
        ),
    )
    yield (
        "metaspace",
        piecewise(
            pre=pre_tokenizers.Metaspace(prepend_scheme="first", split=True),
            decoder=decoders.Sequence(
                [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")]
            ),
        ),
    )


FRAGMENTS = """a|b|the|The|heron|Nadia| |  |   |    |\n|\r\n|\n\n|\t|'s|'S|'LL|'re|ſ|'ſ|0|7|123|4567|٣|½|Ⅷ|é|e\u0301|ｆ|ﬁ|ﬁx|ß|İ|K|Å
|中|文字|東京|ひらがな|한국|नमस्ते|العربية|🚀|👨\u200d👩|\u00a0|\u2003|\u3000|\u180e|\u200b|\u0085|\u2028|\x00|.|,|!!|?|-|--|_|\\|/|{|}|[|]|"|<|>|▁|▁▁
|<0x41>|<unk>|<s>|</s>|<|endoftext|>|<|im_start|>|<|im_end|>|<|eot_id|>|<bos>|<|pad|>|[left]|[right]|word|words|word!|é+|\u0344|\u0958|\U0001d15e|\u07fd\u0614|\ufffd"""


def texts():
    rng = random.Random(20240)
    fragments = FRAGMENTS.replace("\n|", "|").split("|")
    # Splitting cut what holds bars itself and dropped line ends.
    fragments += [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|eot_id|>",
        "<|begin_of_text|>",
        "<|pad|>",
        "\n",
        "\n\n",
        "\r\n",
    ]
    out = ["", " ", "\n", "Hello, world!", " leading", "trailing ", "a" * 300, " " * 70, "12" * 40]
    out += CORPUS[::97]
    for _ in range(220):
        out.append("".join(rng.choice(fragments) for _ in range(rng.randint(1, 14))))
    assigned = [c for c in range(0x20, 0x3000) if unicodedata.category(chr(c)) != "Cn"]
    for _ in range(60):
        out.append("".join(chr(rng.choice(assigned)) for _ in range(rng.randint(1, 12))))
    return out


CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou answer in one line.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {
    "chatml_default": CHATML,
    "chatml_plain": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama3": "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set opening = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set opening = '' %}{% set rest = messages %}{% endif %}"
    "{% for message in rest %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role'])"
    " + '\n' + (opening if loop.first else '') + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
}
CHATS = [
    [("user", "Who paints the heron?"), ("assistant", "Nadia.")],
    [
        ("system", "Be brief."),
        ("user", "  12 lamps?\n"),
        ("assistant", " Yes,\n two. "),
        ("user", "And?"),
        ("assistant", "No."),
    ],
    [("user", "It isn't odd"), ("assistant", "Really \u00a0"), ("user", "")],
]


def conversations():
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    for name, text in TEMPLATES.items():
        template = environment.from_string(text)
        cases = []
        for chat in CHATS:
            messages = [{"role": r, "content": c} for r, c in chat]
            render = lambda prompt: template.render(
                messages=messages, bos_token="<BOS>", add_generation_prompt=prompt
            )
            cases.append({"messages": messages, "rendered": render(False), "prompt": render(True)})
        yield {"name": name, "template": text, "cases": cases}


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def decoded(tokenizer, encodings, strings, skip):
    """The decoded texts; null where it is the text itself, to keep the files small."""
    out = [tokenizer.decode(e.ids, skip_special_tokens=skip) for e in encodings]
    return [None if d == s else d for d, s in zip(out, strings)]


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    strings = texts()
    write(folder / "texts.json", strings)
    for name, tokenizer in make():
        # What is compared is what a reader of the file gets.
        tokenizer = Tokenizer.from_str(tokenizer.to_str())
        write(folder / f"{name}.tokenizer.json", json.loads(tokenizer.to_str()))
        plain = tokenizer.encode_batch(strings, add_special_tokens=False)
        special = tokenizer.encode_batch(strings[:12], add_special_tokens=True)
        write(
            folder / f"{name}.expected.json",
            {
                "ids": [e.ids for e in plain],
                "with_special": [e.ids for e in special],
                "decoded": decoded(tokenizer, plain, strings, False),
                "decoded_skip_special": decoded(tokenizer, plain, strings, True),
            },
        )
    write(folder / "chats.json", list(conversations()))


if __name__ == "__main__":
    main()
