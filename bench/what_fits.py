#!/usr/bin/env python3
"""What fits on which cards: the plan's answer for common shapes, methods and rigs, as a table.

    .venv/bin/python bench/what_fits.py build/release/fttrain

Nothing is loaded and no GPU is needed: `fttrain plan` rehearses each rank. Of each cell the layouts below are tried at
2,048 tokens, and of the one that needs least the longest row that fits is looked for, by powers of two. A
card of 24 or 48 GiB is planned with 23.0 or 47.0: a desktop, and what the driver keeps, take the rest.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

# hidden, intermediate, layers, heads, kv heads, vocabulary
SHAPES = {
    "7B (Mistral)": (4096, 14336, 32, 32, 8, 32768),
    "8B (Llama 3.1)": (4096, 14336, 32, 32, 8, 128256),
    "13B (Llama 2)": (5120, 13824, 40, 40, 40, 32000),
    "34B (Yi)": (7168, 20480, 60, 56, 8, 64000),
    "70B (Llama 3.1)": (8192, 28672, 80, 64, 8, 128256),
    "72B (Qwen 2.5)": (8192, 29568, 80, 64, 8, 152064),
}
RIGS = [(cards, gib) for gib in (24, 48) for cards in (1, 2, 4)]
DESKTOP_GIB = 1.0
METHODS = ("qlora", "lora", "none")


def write_model(folder, shape):
    hidden, intermediate, layers, heads, kv_heads, vocabulary = shape
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": intermediate, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": hidden // heads, "vocab_size": vocabulary,
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 131072,
        "tie_word_embeddings": False, "hidden_act": "silu", "torch_dtype": "bfloat16"}))


def layouts(cards, method):
    memory = {"recompute": "smart"} if method == "none" else {"recompute": "smart", "embedding": "host"}
    if cards == 1:
        return [("one card", {"memory": memory})]
    found = [(f"tensor {cards}", {"parallel": {"tensor": cards, "sequence_parallel": True}, "memory": memory}),
             (f"pipeline {cards}", {"parallel": {"pipeline": cards}, "memory": memory})]
    if method == "none":
        found.append((f"zero 3 over {cards}", {"parallel": {"zero_stage": 3}, "memory": memory}))
    return found


KNOWN = {}


def needs(binary, scratch, model, method, cards, tokens, keys):
    """GiB that the fullest rank needs, or None: such a layout is refused. Asked once for all cards' sizes."""
    what = (model, method, cards, tokens, json.dumps(keys))
    if what not in KNOWN:
        KNOWN[what] = plan(binary, scratch, model, method, cards, tokens, keys)
    return KNOWN[what]


def plan(binary, scratch, model, method, cards, tokens, keys):
    config = {
        "model": {"path": str(model)},
        "adapter": {"method": method} if method == "none" else {"method": method, "r": 16},
        "data": {"train": [{"path": "rows.jsonl", "format": "tokens"}], "sequence_len": tokens},
        "train": {"max_steps": 2, "micro_batch_size": 1, "gradient_accumulation_steps": max(2, cards)},
        "optimizer": {"state": "int8"},
        "output_dir": str(scratch / "out"),
        **keys,
    }
    path = scratch / "run.json"
    path.write_text(json.dumps(config))
    done = subprocess.run([str(binary), "plan", str(path), f"--ranks={cards}", "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        return None
    ranks = json.loads(done.stdout)["ranks"]
    return max(rank["tracked_peak"] + rank["untracked"] for rank in ranks) / 2**30


def longest(room, need):
    """The largest power of two, from 2,048 on, of tokens that fit in a row."""
    tokens = 2048
    while tokens < 131072:
        needed = need(2 * tokens)
        if needed is None or needed > room:
            break
        tokens *= 2
    return tokens


def cell(binary, scratch, model, method, cards, gib):
    room = gib - DESKTOP_GIB
    best = None
    for name, keys in layouts(cards, method):
        needed = needs(binary, scratch, model, method, cards, 2048, keys)
        if needed is not None and (best is None or needed < best[0]):
            best = (needed, name, keys)
    if best is None:
        return "refused"
    if best[0] > room:
        return f"no: {best[0]:.1f}"
    tokens = longest(room, lambda t: needs(binary, scratch, model, method, cards, t, best[2]))
    return f"**{best[0]:.1f}**, {best[1]}, to {tokens // 1024}k"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=Path)
    options = parser.parse_args()
    words = {"qlora": "QLoRA", "lora": "LoRA", "none": "all weights"}
    print("| model | method | " + " | ".join(f"{cards} x {gib} GiB" for cards, gib in RIGS) + " |")
    print("|---|---" + "|---" * len(RIGS) + "|")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for i, (name, shape) in enumerate(SHAPES.items()):
            model = scratch / f"model-{i}"
            write_model(model, shape)
            for method in METHODS:
                cells = [cell(options.binary, scratch, model, method, cards, gib) for cards, gib in RIGS]
                print(f"| {name} | {words[method]} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
