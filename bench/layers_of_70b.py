#!/usr/bin/env python3
"""Does a layer of a 70B model take the bytes that the plan says?

    .venv/bin/python bench/layers_of_70b.py build/release/fttrain

A model of Llama 3 70B's widths, 2 and 4 layers deep, with a small vocabulary and random weights, is trained by QLoRA on two
CPU ranks, one pipeline stage each, for two steps. What each rank held, and at most, must be what `fttrain plan` says of the
same config, category by category, to the byte. The difference between the two depths is what a layer takes; it must be what
the plan of the whole model for two 24 GB cards has in each of its layers. Ten minutes, 16 GB of memory, 8 GB of disk.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from compare_peft import MPI_ENVIRONMENT

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD, VOCABULARY = 8192, 28672, 64, 8, 128, 1024
SEQUENCE = 512
CATEGORIES = ("weights", "adapters", "gradients", "optimizer")


def write_model(folder, layers):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": layers, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD,
        "vocab_size": VOCABULARY, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "tie_word_embeddings": False, "hidden_act": "silu", "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
    }))
    draw = torch.Generator().manual_seed(1)

    def matrix(rows, columns):
        return torch.empty(rows, columns, dtype=torch.bfloat16).normal_(0, 0.02, generator=draw)

    weight_map = {}

    def save(name, tensors):
        save_file(tensors, folder / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(tensors, name))

    for layer in range(layers):
        at = f"model.layers.{layer}."
        save(f"layer-{layer}.safetensors", {
            at + "input_layernorm.weight": torch.ones(HIDDEN, dtype=torch.bfloat16),
            at + "post_attention_layernorm.weight": torch.ones(HIDDEN, dtype=torch.bfloat16),
            at + "self_attn.q_proj.weight": matrix(HEADS * HEAD, HIDDEN),
            at + "self_attn.k_proj.weight": matrix(KV_HEADS * HEAD, HIDDEN),
            at + "self_attn.v_proj.weight": matrix(KV_HEADS * HEAD, HIDDEN),
            at + "self_attn.o_proj.weight": matrix(HIDDEN, HEADS * HEAD),
            at + "mlp.gate_proj.weight": matrix(INTERMEDIATE, HIDDEN),
            at + "mlp.up_proj.weight": matrix(INTERMEDIATE, HIDDEN),
            at + "mlp.down_proj.weight": matrix(HIDDEN, INTERMEDIATE),
        })
    save("ends.safetensors", {
        "model.embed_tokens.weight": matrix(VOCABULARY, HIDDEN),
        "model.norm.weight": torch.ones(HIDDEN, dtype=torch.bfloat16),
        "lm_head.weight": matrix(VOCABULARY, HIDDEN),
    })
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def write_config(folder, model):
    rows = folder / "rows.jsonl"
    ids = [(7 * i) % (VOCABULARY - 3) + 3 for i in range(SEQUENCE)]
    rows.write_text((json.dumps({"input_ids": ids, "labels": ids}) + "\n") * 8)
    path = folder / "run.json"
    path.write_text(json.dumps({
        "model": {"path": str(model)}, "adapter": {"method": "qlora", "r": 16},
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


def compared(binary, folder, layers):
    """Bytes of each rank, planned and measured; they are the same or the bench ends."""
    write_model(folder / "model", layers)
    config = write_config(folder, folder / "model")
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
    parser.add_argument("--scratch", type=Path, help="a folder for the models, default the system's")
    options = parser.parse_args()
    binary = options.binary.resolve()
    of_depth = {}
    for layers in (2, 4):
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            of_depth[layers] = compared(binary, Path(scratch), layers)
    keys = ["parallel.pipeline=2", "parallel.tensor=1", "parallel.pipeline_schedule=1f1b", "parallel.chunks_per_stage=1",
            "memory.recompute=full", "memory.embedding=device", "memory.base_weights=device"]
    whole = json.loads(run(binary, "plan", "--rig=2x24GB", "--model=llama-3.1-70b", "--method=qlora", "--json", *keys))
    ends = 128256 * HIDDEN * 2
    wrong = 0
    for rank, held in enumerate(each["held"] for each in whole["ranks"]):
        # One layer of each rank more from the one depth to the other.
        layer = {name: of_depth[4][rank]["held"][name] - of_depth[2][rank]["held"][name] for name in CATEGORIES}
        norm = 0 if rank == 0 else HIDDEN * 2
        for name in CATEGORIES:
            left = held[name] - 40 * layer[name] - (ends + norm if name == "weights" else 0)
            wrong += left != 0
            print(f"whole model, rank {rank}, {name}: {held[name]:,} planned; 40 layers of {layer[name]:,} measured"
                  f"{' and the vocabulary' if name == 'weights' else ''}; {left:,} between them")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
