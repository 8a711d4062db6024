#!/usr/bin/env python3
"""What do memory.recompute and memory.activations cost in time and save in memory?

    .venv/bin/python bench/kept_activations.py build/release/fttrain

The same program on the same rows, LoRA, every level and place in turns; medians of steps. Memory is
the largest tensor bytes on the device, weights included; on a CPU run the host's copies are counted
apart from them, though they lie in the same memory.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import time
from pathlib import Path

import compare_peft

MODEL = {**compare_peft.MODEL, "num_hidden_layers": 8, "vocab_size": 2000}
MODEL.update(hidden_size=768, intermediate_size=2048, num_attention_heads=12)
ROW = 512
WAYS = [(recompute, place) for place in ("device", "host") for recompute in ("none", "smart", "full")]


def config(options, recompute, place):
    return {
        "model": {"path": str(options.folder / "model")},
        "adapter": {"method": "lora", "r": 16, "alpha": 32, "target_modules": "all-linear"},
        "data": {
            "train": [{"path": str(options.folder / "rows.jsonl"), "format": "tokens"}],
            "sequence_len": ROW,
            "packing": False,
            "shuffle": False,
        },
        "train": {
            "max_steps": options.steps,
            "micro_batch_size": options.rows,
            "gradient_accumulation_steps": 1,
        },
        "memory": {"recompute": recompute, "activations": place},
        "precision": {"compute": options.compute},
        "device": "cpu",
        "output_dir": str(options.folder / "out"),
    }


def measure(options, recompute, place):
    """Seconds of the steps after the first, the largest device bytes, the last loss."""
    path = options.folder / "run.yaml"
    path.write_text(json.dumps(config(options, recompute, place)))
    environment = {
        **os.environ,
        **compare_peft.MPI_ENVIRONMENT,
        "OMP_NUM_THREADS": str(options.threads),
    }
    command = [str(options.binary.resolve()), "train", f"--config={path}"]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    metrics = (options.folder / "out" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in metrics]
    return [s["seconds"] for s in steps[1:]], steps[-1]["peak_bytes"], steps[-1]["loss"]


def table(results):
    first = results[0]
    lines = [
        "| recompute | activations | ms a step | of none, device | device peak, MiB | last loss |",
        "|---|---|---|---|---|---|",
    ]
    for row in results:
        lines.append(
            f"| {row['recompute']} | {row['place']} | {1000 * row['seconds']:.0f} | "
            f"{row['seconds'] / first['seconds']:.2f} | {row['peak_bytes'] / 2**20:.0f} | "
            f"{row['loss']:.6f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = compare_peft.ROOT
    parser.add_argument("binary", type=Path, nargs="?", default=root / "build/release/fttrain")
    parser.add_argument("--rows", type=int, default=2, help="of 512 tokens, in a microbatch")
    parser.add_argument("--compute", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--steps", type=int, default=4, help="the first is not counted")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=root / "build/bench/kept_activations")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    compare_peft.MODEL.update(MODEL)
    rows = options.steps * options.rows
    compare_peft.make_inputs(options.folder, math.ceil(rows / compare_peft.ROWS))
    seconds = {way: [] for way in WAYS}
    peaks, losses = {}, {}
    for _ in range(options.repeat):
        for way in WAYS:
            measured, peaks[way], losses[way] = measure(options, *way)
            seconds[way] += measured
    results = [
        {
            "recompute": way[0],
            "place": way[1],
            "seconds": statistics.median(seconds[way]),
            "peak_bytes": peaks[way],
            "loss": losses[way],
        }
        for way in WAYS
    ]
    print(table(results))
    print(f"\n- machine: {compare_peft.machine()}\n- threads: {options.threads}")
    print(f"- date: {time.strftime('%Y-%m-%d')}")


if __name__ == "__main__":
    main()
