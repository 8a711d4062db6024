#!/usr/bin/env python3
"""Does a stage of a 70B model take the bytes that the arithmetic says?

    .venv/bin/python bench/shape_70b.py build/release/fttrain --layers 2

Makes a Llama of real 70B shapes (hidden 8192, feed-forward 28672, 64 heads, 8 kv heads) with random
16-bit weights and few layers, trains it with QLoRA for two short steps, and compares the bytes of
its weights with the closed form: half a byte a code, a byte for every 64 of them, a float32 for
every 256 of those bytes.
"""

import argparse
import json
import math
import os
import re
import struct
import subprocess
import time
from pathlib import Path

import compare_peft

HIDDEN, FFN, HEADS, KV_HEADS, VOCAB = 8192, 28672, 64, 8, 1024


def tensors(layers):
    """(name, shape) of the whole model, in file order."""
    kv = KV_HEADS * HIDDEN // HEADS
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (HIDDEN,)
        yield prefix + "self_attn.q_proj.weight", (HIDDEN, HIDDEN)
        yield prefix + "self_attn.k_proj.weight", (kv, HIDDEN)
        yield prefix + "self_attn.v_proj.weight", (kv, HIDDEN)
        yield prefix + "self_attn.o_proj.weight", (HIDDEN, HIDDEN)
        yield prefix + "post_attention_layernorm.weight", (HIDDEN,)
        yield prefix + "mlp.gate_proj.weight", (FFN, HIDDEN)
        yield prefix + "mlp.up_proj.weight", (FFN, HIDDEN)
        yield prefix + "mlp.down_proj.weight", (HIDDEN, FFN)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCAB, HIDDEN)


def make_model(folder, layers):
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": FFN,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "vocab_size": VOCAB,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    header, offset = {}, 0
    for name, shape in tensors(layers):
        size = 2 * math.prod(shape)
        header[name] = {
            "dtype": "BF16",
            "shape": shape,
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    torch.manual_seed(1)
    with open(folder / "model.safetensors.part", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors(layers):
            scale = 1.0 if name.endswith("norm.weight") else 0.02
            value = torch.empty(shape, dtype=torch.bfloat16).normal_(0.0, scale)
            file.write(memoryview(value.view(torch.int16).numpy()).cast("B"))
    (folder / "model.safetensors.part").rename(folder / "model.safetensors")


def closed_form_bytes(layers):
    """Of the weights; each part of a matrix is rounded up to 16 bytes, the offset takes one more."""
    aligned = lambda n: (n + 15) // 16 * 16
    quantised = plain = parameters = 0
    for name, shape in tensors(layers):
        numel = math.prod(shape)
        if "_proj" not in name:
            plain += 2 * numel
            continue
        parameters += numel
        blocks = numel // 64
        quantised += aligned(numel // 2) + aligned(blocks) + aligned(4 * -(-blocks // 256)) + 16
    return quantised, plain, parameters


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = compare_peft.ROOT
    parser.add_argument("binary", type=Path, nargs="?", default=root / "build/release/fttrain")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=1, help="as tensor-parallel ranks")
    parser.add_argument("--folder", type=Path, default=root / "build/bench/shape_70b")
    options = parser.parse_args()
    model = options.folder / f"model-{options.layers}"
    if not (model / "model.safetensors").exists():
        make_model(model, options.layers)
    rows = options.folder / "rows.jsonl"
    row = list(range(64))
    rows.write_text("".join(json.dumps({"input_ids": row, "labels": row}) + "\n" for _ in range(2)))
    config = {
        "model": {"path": str(model)},
        "adapter": {"method": "qlora"},
        "data": {"train": [{"path": str(rows), "format": "tokens"}], "sequence_len": 64},
        "train": {"max_steps": 2},
        "parallel": {"tensor": options.ranks},
        "device": "cpu",
        "output_dir": str(options.folder / "out"),
    }
    path = options.folder / "run.yaml"
    path.write_text(json.dumps(config))
    command = [str(options.binary.resolve()), "train", f"--config={path}"]
    if options.ranks > 1:
        command = ["mpirun", "-np", str(options.ranks), *command]
    environment = {**os.environ, **compare_peft.MPI_ENVIRONMENT}
    start = time.time()
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    print(done.stdout)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    quantised, plain, parameters = closed_form_bytes(options.layers)
    found = re.search(r"held +weights ([\d,]+) bytes", done.stdout)
    print(f"closed form: {quantised + plain:,} bytes = NF4 {quantised:,} + 16-bit {plain:,}")
    print(f"             {8 * quantised / parameters:.4f} bits a quantised parameter")
    print(f"run:         {found.group(1) if found else '?'} bytes on rank 0")
    print(f"             {time.time() - start:.0f} s in all, on {compare_peft.machine()}")
    if options.ranks == 1 and int(found.group(1).replace(",", "")) != quantised + plain:
        raise SystemExit("the bytes differ")


if __name__ == "__main__":
    main()
