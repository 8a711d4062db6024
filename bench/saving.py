#!/usr/bin/env python3
"""What does saving cost, and going on?

    .venv/bin/python bench/saving.py build/release/fttrain --model=build/bench/compare_peft/model

Runs take turns, and the shortest counts. `saving`: the time from the end of the first step to the end of the last,
with a checkpoint every 50 steps over without any (a save's own copy, its writing beside the steps and its commit are
in it). `going on`: the time from the command to the end of its first step, from a checkpoint over fresh.
A host whose GPUs compute has cores left that write, as two cores with --threads=1 have; with a thread for each core
writing takes its time from training.
--model: a folder as compare_peft.py makes it (0.2 B parameters), beside it the rows.jsonl of that benchmark.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from compare_peft import MPI_ENVIRONMENT, ROOT

EVERY = 50


def config_of(options, method, tokens, steps, save_steps):
    return {
        "model": {"path": str(options.model.resolve())},
        "adapter": {"method": method} if method == "none" else {"method": method, "r": 16},
        "data": {
            "train": [{"path": str(options.model.resolve().parent / "rows.jsonl"), "format": "tokens"}],
            "sequence_len": tokens,
            "packing": False,
        },
        "train": {"max_steps": steps, "save_steps": save_steps, "save_total_limit": 1,
                  "allow_changed": ["train.max_steps"]},
        "schedule": {"name": "constant"},
        "device": "cpu",
        "output_dir": str(options.folder / "out"),
    }


def train(options, method, tokens, steps, save_steps):
    """Seconds from the command to its first line of metrics, and from that to its last."""
    path, metrics = options.folder / "run.json", options.folder / "out/metrics.jsonl"
    path.write_text(json.dumps(config_of(options, method, tokens, steps, save_steps)))
    had = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
    environment = {**os.environ, **MPI_ENVIRONMENT, "OMP_NUM_THREADS": str(options.threads)}
    begun, first, last = time.monotonic(), None, None
    process = subprocess.Popen(
        [str(options.binary.resolve()), "train", f"--config={path}"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        lines = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
        if first is None and lines == had + 1:
            first = time.monotonic()
        if last is None and lines == steps:
            last = time.monotonic()
        time.sleep(0.002)
    if process.returncode != 0 or first is None:
        sys.exit(f"{method}: {process.stderr.read()}")
    return first - begun, (last or first) - first


def saving(options, method, tokens):
    shortest = {0: float("inf"), EVERY: float("inf")}
    for _ in range(options.repeat):
        for save_steps in shortest:
            shutil.rmtree(options.folder / "out", ignore_errors=True)
            seconds = train(options, method, tokens, 3 * EVERY + 1, save_steps)[1]
            shortest[save_steps] = min(shortest[save_steps], seconds)
    step = shortest[0] / (3 * EVERY)
    return step, shortest[EVERY] / shortest[0] - 1


def going_on(options, method, tokens):
    fresh, resumed = float("inf"), float("inf")
    for _ in range(options.repeat):
        shutil.rmtree(options.folder / "out", ignore_errors=True)
        fresh = min(fresh, train(options, method, tokens, 2, 2)[0])
        resumed = min(resumed, train(options, method, tokens, 3, 2)[0])
    return fresh, resumed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=ROOT / "build/bench/saving")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["lora", "none"], choices=["lora", "none"])
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| method | a step, s | saving every 50 steps costs | fresh, s | going on, s | ratio |")
    print("|---|---|---|---|---|---|")
    for method in options.methods:
        step, cost = saving(options, method, options.tokens)
        fresh, resumed = going_on(options, method, options.tokens)
        name = "full" if method == "none" else method
        print(
            f"| {name} | {step:.3f} | {100 * cost:.2f} % | {fresh:.2f} | {resumed:.2f} | {resumed / fresh:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
