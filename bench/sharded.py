#!/usr/bin/env python3
"""sharded.py BINARY --model FOLDER: what sharding over dp and streaming frozen weights cost.

Two questions on one machine, the same tokens a step in every run, runs taking turns:
ZeRO stages on two ranks with one thread each against one rank with two threads, and frozen weights
on the host and on disk against the device, layer by layer on one rank. FOLDER: a model as
compare_peft.py makes it.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from compare_peft import MPI_ENVIRONMENT, ROOT

ROWS = 16  # a step


def layer_major(**memory):
    return {"parallel": {"pipeline_schedule": "layer_major"}, "memory": memory}


def zero(stage, **parallel):
    return {"parallel": {"zero_stage": stage, **parallel}}


# name -> (ranks, what differs)
RUNS = {
    "one rank": (1, {}),
    "dp 2, ZeRO 1": (2, zero(1)),
    "dp 2, ZeRO 2": (2, zero(2)),
    "dp 2, ZeRO 3": (2, zero(3)),
    "dp 2, ZeRO 3, layer-major": (2, zero(3, pipeline_schedule="layer_major")),
    "layer-major": (1, layer_major()),
    "layer-major, weights on the host": (1, layer_major(base_weights="host")),
    "layer-major, weights on disk": (1, layer_major(base_weights="disk")),
}


def config_of(options, method, ranks, changes):
    config = {
        "model": {"path": str(options.model.resolve())},
        "adapter": {"method": method} if method == "none" else {"method": method, "r": 16},
        "data": {
            "train": [{"path": str(options.folder / "rows.jsonl"), "format": "tokens"}],
            "sequence_len": options.tokens,
            "packing": False,
            "shuffle": False,
        },
        "train": {
            "max_steps": options.steps,
            "micro_batch_size": 1,
            "gradient_accumulation_steps": ROWS // ranks,
        },
        "optimizer": {"learning_rate": 1e-4},
        "precision": {"compute": options.precision},
        "device": "cpu",
        "output_dir": str(options.folder / "out"),
    }
    for section, keys in changes.items():
        config[section] = {**config.get(section, {}), **keys}
    return config


def run(options, method, name):
    """(median seconds of a step, peak bytes of a rank)"""
    ranks, changes = RUNS[name]
    path, output = options.folder / "run.json", options.folder / "out"
    path.write_text(json.dumps(config_of(options, method, ranks, changes)))
    shutil.rmtree(output, ignore_errors=True)
    command = [str(options.binary.resolve()), "train", f"--config={path}"]
    if ranks > 1:
        command = ["mpirun", "-np", str(ranks), *command]
    environment = {**os.environ, **MPI_ENVIRONMENT, "OMP_NUM_THREADS": str(2 // ranks)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{method}, {name}: {done.stderr}")
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    seconds = [row["seconds"] for row in rows[options.warm_up :]]
    return statistics.median(seconds), max(row["peak_bytes"] for row in rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary", type=Path, nargs="?", default=ROOT / "build/release/fttrain")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", default=["lora", "qlora", "none"])
    parser.add_argument("--only", nargs="*", default=list(RUNS), help="names of runs")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--tokens", type=int, default=256, help="of a row")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1, help="steps not counted")
    parser.add_argument("--repeat", type=int, default=3, help="rounds of all runs")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/bench/sharded")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(1)
    rows = [[draw.randrange(1000) for _ in range(options.tokens)] for _ in range(4 * ROWS)]
    lines = [json.dumps({"input_ids": row, "labels": row}) for row in rows]
    (options.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    for method in options.methods:
        names = [n for n in options.only if method != "none" or "weights" not in n]
        seconds, peak = {n: [] for n in names}, {}
        for _ in range(options.repeat):
            for name in names:
                took, peak[name] = run(options, method, name)
                seconds[name].append(took)
        for name in names:
            base = "layer-major" if name.startswith("layer-major") else "one rank"
            best = min(seconds[name])
            ratio = f"{min(seconds[base]) / best:5.3f}" if base in seconds else "    -"
            print(
                f"{method:5} {name:34} {best:7.3f} s  {ratio} of {base:12} "
                f"{peak[name] / 2**20:7.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
