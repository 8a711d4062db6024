#!/usr/bin/env python3
"""What fits on which cards: the planner's answer for common shapes, methods and rigs, as a table.

    .venv/bin/python bench/what_fits.py build/release/fttrain

Of each cell `fttrain plan --rig` searches the layouts, at rows of 2,048 tokens, 16 a step, r 16, with half a GiB of each
card left to a desktop. Then, on the same mesh, with one row a microbatch and what is kept for backward made again and in
host memory, the longest row that fits is looked for. Nothing is loaded and no GPU is needed: what fits is rehearsed.
Speeds are predicted.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path

SHAPES = ["mistral-7b", "llama-3.1-8b", "llama-2-13b", "yi-34b", "llama-3.1-70b", "qwen2.5-72b"]
TIED = ("gemma-",)  # their embedding is their head, which multiplies on the device
METHODS = {"qlora": "QLoRA", "lora": "LoRA", "full": "all weights"}
RIGS = [f"{cards}x{size}GB" for size in (24, 48) for cards in (1, 2, 4)]
GIB = 2**30


def plan(binary, model, method, rig, *keys):
    command = [str(binary), "plan", f"--model={model}", f"--method={method}", f"--rig={rig}", "--json", *keys]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def longest(binary, model, method, rig, keys):
    lean = {"train.micro_batch_size": 1, "memory.recompute": "full", "memory.activations": "host",
            "parallel.tensor": keys.get("parallel.tensor", 1), "parallel.pipeline": keys.get("parallel.pipeline", 1)}
    if method != "full" and not model.startswith(TIED):
        lean["memory.embedding"] = "host"
    return plan(binary, model, method, rig, *(f"{key}={value}" for key, value in lean.items()))["longest_sequence_len"]


def cell(binary, model, method, rig):
    found = plan(binary, model, method, rig)
    if not found["layouts"]:
        nearest = max(found["too_big"], key=lambda layout: layout["left"])
        if nearest["left"] >= 0:
            return f"no: {nearest['host'] / GIB:.0f} of the host"
        return f"no: {nearest['needed'] / GIB:.1f}"
    best = found["layouts"][0]
    levers = [lever.replace("memory.", "").replace("parallel.", "") for lever in best["levers"]]
    tokens = max(found["longest_sequence_len"], longest(binary, model, method, rig, best["keys"]))
    return (f"**{best['needed'] / GIB:.1f}**, {best['layout']}" + "".join(f", {lever}" for lever in levers)
            + f"; {best['tokens_per_second']:,.0f}/s; to {tokens / 1024:.0f}k")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=Path)
    parser.add_argument("--models", nargs="*", default=SHAPES)
    options = parser.parse_args()
    began = time.monotonic()
    print("| model | method | " + " | ".join(RIGS) + " |")
    print("|---|---" + "|---" * len(RIGS) + "|")
    for model in options.models:
        for method, words in METHODS.items():
            cells = [cell(options.binary, model, method, rig) for rig in RIGS]
            print(f"| {model} | {words} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{len(options.models) * len(METHODS) * len(RIGS)} searches in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
