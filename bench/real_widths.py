#!/usr/bin/env python3
"""Does a layer of a large model take the bytes that the plan says?

    .venv/bin/python bench/real_widths.py build/release/fttrain [--shape qwen3-30b-a3b]

A model of Llama 3 70B's widths (or of Qwen3 30B-A3B's, 128 experts), 2 and 4 layers deep, with a small vocabulary and random
weights, is trained by QLoRA on two CPU ranks, one pipeline stage each, for two steps. What each rank held, and at most, must
be what `fttrain plan` says of the same config, category by category, to the byte. The difference between the two depths is
what a layer takes. Its weights must be the sum over its matrices of 4 bits an element, a byte for each block of 64, 4 for each
256 of those and 4 more, each part of whole 16 bytes, and of 2 bytes for each element that is not quantised; and it must be
what the plan of the whole model for two 24 GB cards has in each of its layers. Ten minutes, 16 GB of memory, 8 GB of disk.
"""

import argparse
import json
import math
import os
import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from compare_peft import MPI_ENVIRONMENT

VOCABULARY, SEQUENCE = 1024, 512
CATEGORIES = ("weights", "adapters", "gradients", "optimizer")
COMMON = {"vocab_size": VOCABULARY, "max_position_embeddings": 8192, "tie_word_embeddings": False, "hidden_act": "silu",
          "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2}
LLAMA = COMMON | {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672,
                  "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128, "rms_norm_eps": 1e-5,
                  "rope_theta": 500000.0}
QWEN = COMMON | {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 2048,
                 "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
                 "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [], "num_attention_heads": 32,
                 "num_key_value_heads": 4, "head_dim": 128, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
                 "attention_bias": False}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
# name: (config, layers, vocabulary, what adapters are on)
SHAPES = {"llama-3.1-70b": (LLAMA, 80, 128256, "all-linear"), "qwen3-30b-a3b": (QWEN, 48, 151936, ATTENTION)}


def layer_shapes(config):
    """name: shape of a layer's tensors; those of two dimensions are quantised, but for the router."""
    hidden, head = config["hidden_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = {"input_layernorm": (hidden,), "post_attention_layernorm": (hidden,), "self_attn.q_proj": (q, hidden),
              "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden), "self_attn.o_proj": (hidden, q)}

    def mlp(at, width):
        return {f"{at}.gate_proj": (width, hidden), f"{at}.up_proj": (width, hidden), f"{at}.down_proj": (hidden, width)}

    if "num_experts" not in config:
        return shapes | mlp("mlp", config["intermediate_size"])
    shapes |= {"self_attn.q_norm": (head,), "self_attn.k_norm": (head,), "mlp.gate": (config["num_experts"], hidden)}
    for expert in range(config["num_experts"]):
        shapes |= mlp(f"mlp.experts.{expert}", config["moe_intermediate_size"])
    return shapes


def layer_bytes(config):
    total = 0
    for name, shape in layer_shapes(config).items():
        elements = math.prod(shape)
        if len(shape) == 1 or name == "mlp.gate":
            total += 2 * elements
        else:
            blocks = elements // 64
            total += sum(-(-part // 16) * 16 for part in (elements // 2, blocks, 4 * -(-blocks // 256), 4))
    return total


def write_model(folder, config, layers):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}))
    draw = torch.Generator().manual_seed(1)

    def random(shape):
        value = torch.empty(shape, dtype=torch.bfloat16)
        return value.fill_(1) if len(shape) == 1 else value.normal_(0, 0.02, generator=draw)

    weight_map = {}

    def save(name, tensors):
        save_file(tensors, folder / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(tensors, name))

    for layer in range(layers):
        shapes = {f"model.layers.{layer}.{name}.weight": shape for name, shape in layer_shapes(config).items()}
        save(f"layer-{layer}.safetensors", {name: random(shape) for name, shape in shapes.items()})
    ends = (VOCABULARY, config["hidden_size"])
    save("ends.safetensors", {
        "model.embed_tokens.weight": random(ends), "model.norm.weight": random(ends[1:]), "lm_head.weight": random(ends),
    })
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def write_config(folder, model, targets):
    rows = folder / "rows.jsonl"
    ids = [(7 * i) % (VOCABULARY - 3) + 3 for i in range(SEQUENCE)]
    rows.write_text((json.dumps({"input_ids": ids, "labels": ids}) + "\n") * 8)
    path = folder / "run.json"
    path.write_text(json.dumps({
        "model": {"path": str(model)}, "adapter": {"method": "qlora", "r": 16, "target_modules": targets},
        "data": {"train": [{"path": str(rows), "format": "tokens"}], "sequence_len": SEQUENCE},
        "train": {"max_steps": 2, "gradient_accumulation_steps": 4}, "parallel": {"pipeline": 2},
        "memory": {"recompute": "full"}, "device": "cpu", "output_dir": str(folder / "out"),
    }))
    return path


def run(*command):
    done = subprocess.run(command, env={**os.environ, **MPI_ENVIRONMENT, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def compared(binary, folder, shape, layers):
    """Bytes of each rank, planned and measured; they are the same or the bench ends."""
    write_model(folder / "model", shape[0], layers)
    config = write_config(folder, folder / "model", shape[3])
    planned = json.loads(run(binary, "plan", f"--config={config}", "--json"))["ranks"]
    run("mpirun", "-np", "2", binary, "train", f"--config={config}")
    measured = json.loads((folder / "out/memory.json").read_text())["ranks"]
    for want, got in zip(planned, measured, strict=True):
        for when in ("held", "peak"):
            if want[when] != got[when]:
                raise SystemExit(f"{layers} layers, rank {got['rank']}, {when}: planned {want[when]}, measured {got[when]}")
        print(f"{layers} layers, rank {got['rank']}: planned = measured; "
              + ", ".join(f"{name} {got['held'][name]:,}" for name in CATEGORIES) + f"; peak {got['tracked_peak']:,}", flush=True)
    return measured


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--shape", choices=list(SHAPES), default="llama-3.1-70b")
    parser.add_argument("--scratch", type=Path, help="a folder for the models, default the system's")
    options = parser.parse_args()
    binary = options.binary.resolve()
    config, layers_of_all, vocabulary, _ = SHAPES[options.shape]
    of_depth = {}
    for layers in (2, 4):
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            of_depth[layers] = compared(binary, Path(scratch), SHAPES[options.shape], layers)
    ends, deep = vocabulary * config["hidden_size"] * 2, layers_of_all // 2
    keys = ["parallel.pipeline=2", "parallel.tensor=1", "parallel.pipeline_schedule=1f1b", "parallel.chunks_per_stage=1",
            f"parallel.layers_per_stage=[{deep}, {deep}]", "memory.recompute=full", "memory.embedding=device",
            "memory.base_weights=device"]
    whole = json.loads(run(binary, "plan", "--rig=2x24GB", f"--model={options.shape}", "--method=qlora", "--json", *keys))
    wrong = 0
    for rank, held in enumerate(each["held"] for each in whole["ranks"]):
        # One layer of each rank more from the one depth to the other.
        layer = {name: of_depth[4][rank]["held"][name] - of_depth[2][rank]["held"][name] for name in CATEGORIES}
        norm = 0 if rank == 0 else config["hidden_size"] * 2
        wrong += layer["weights"] != layer_bytes(config)
        print(f"a layer's weights, rank {rank}: {layer['weights']:,} measured, {layer_bytes(config):,} by arithmetic")
        for name in CATEGORIES:
            left = held[name] - deep * layer[name] - (ends + norm if name == "weights" else 0)
            wrong += left != 0
            print(f"whole model, rank {rank}, {name}: {held[name]:,} planned; {deep} layers of {layer[name]:,} measured"
                  f"{' and the vocabulary' if name == 'weights' else ''}; {left:,} between them")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
