#!/usr/bin/env python3
"""What does saving cost, and going on?

    .venv/bin/python bench/saving.py build/release/fttrain --model=build/bench/compare_peft/model

`a save`: what the steps about a checkpoint take longer than the median of those between checkpoints, of the same run:
its copy, what its writing beside the steps costs them, and its commit. `every 50 steps`: the share of 50 steps that is.
`going on`: the time from the command to the end of its first step, from a checkpoint over fresh; the shortest of
several runs that take turns.
A host whose GPUs compute has cores left that write, as two cores with --threads=1 have; with a thread for each core
writing takes its time from training.
--model: a folder as compare_peft.py makes it (0.2 B parameters), beside it the rows.jsonl of that benchmark.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from compare_peft import MPI_ENVIRONMENT, ROOT

EVERY = 50
ABOUT = 8  # steps, in which a checkpoint is written and committed


def config_of(options, method, tokens, steps, save_steps):
    return {
        "model": {"path": str(options.model.resolve())},
        "adapter": {"method": method} if method == "none" else {"method": method, "r": 16},
        "data": {
            "train": [{"path": str(options.model.resolve().parent / "rows.jsonl"), "format": "tokens"}],
            "sequence_len": tokens,
            "packing": False,
        },
        "train": {"max_steps": steps, "gradient_accumulation_steps": options.rows,
                  "save_steps": save_steps, "save_total_limit": 1,
                  "allow_changed": ["train.max_steps"]},
        "schedule": {"name": "constant"},
        "device": "cpu",
        "output_dir": str(options.folder / "out"),
    }


def train(options, method, tokens, steps, save_steps):
    """Seconds from the command to the end of each step."""
    path, metrics = options.folder / "run.json", options.folder / "out/metrics.jsonl"
    path.write_text(json.dumps(config_of(options, method, tokens, steps, save_steps)))
    had = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
    environment = {**os.environ, **MPI_ENVIRONMENT, "OMP_NUM_THREADS": str(options.threads)}
    begun, ends = time.monotonic(), []
    process = subprocess.Popen(
        [str(options.binary.resolve()), "train", f"--config={path}"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        lines = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
        while len(ends) < lines - had:
            ends.append(time.monotonic() - begun)
        time.sleep(0.002)
    if process.returncode != 0 or not ends:
        sys.exit(f"{method}: {process.stderr.read()}")
    return ends


def saving(options, method, tokens):
    """A step, and what a save adds to those about it, in seconds."""
    shutil.rmtree(options.folder / "out", ignore_errors=True)
    ends = train(options, method, tokens, options.saves * EVERY + ABOUT, EVERY)
    steps = [after - before for before, after in zip(ends, ends[1:])]
    medians, costs = [], []
    for save in range(EVERY, options.saves * EVERY + 1, EVERY):
        # The step from line `save` to the next has index save - 1.
        medians.append(statistics.median(steps[save - EVERY + ABOUT : save - 2]))
        about = steps[save - 2 : save - 2 + ABOUT]
        costs.append(sum(about) - len(about) * medians[-1])
    return statistics.median(medians), costs


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
    parser.add_argument("--rows", type=int, default=1, help="of --tokens each, in a step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--saves", type=int, default=3, help="in a run")
    parser.add_argument("--methods", nargs="+", default=["lora", "none"], choices=["lora", "none"])
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| method | a step, s | a save, s | every 50 steps | fresh, s | going on, s | ratio |")
    print("|---|---|---|---|---|---|---|")
    for method in options.methods:
        step, costs = saving(options, method, options.tokens)
        fresh, resumed = going_on(options, method, options.tokens)
        name = "full" if method == "none" else method
        each = ", ".join(f"{cost:.2f}" for cost in costs)
        share = statistics.median(costs) / (EVERY * step)
        print(
            f"| {name} | {step:.3f} | {each} | {100 * share:.2f} % | {fresh:.2f} | {resumed:.2f} | {resumed / fresh:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
