#!/usr/bin/env python3
"""What does a layout cost against one rank on the same cores?

    .venv/bin/python bench/layouts.py build/release/fttrain --model=build/bench/compare_peft/model

Every run trains the same tokens a step, 16 rows; runs take turns, and the shortest median of a run's
steps counts. `ratio` is the base's time over the run's: tokens a second relative to the base.
  two ranks with one thread each against one rank with two threads: pipelines, data parallel with
  ZeRO 1 to 3, tensor parallel;
  frozen weights on the host and on disk against the device, layer by layer on one rank; on the host
  also divided over two.
--kept: what memory.recompute and memory.activations cost in time and save in memory, on one rank. On
a CPU "host" is the same memory under another count: its price is two copies, not a bus.
--bubble: a pipeline of two stages at 2 to 32 microbatches of equal size. Step times are fitted by
a + b m; a / (a + b m) is the measured bubble beside the closed form (p - 1) / (v m + p - 1).
--model: a folder as compare_peft.py makes it.
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


def pipeline(schedule, chunks=1):
    shape = {"pipeline": 2, "pipeline_schedule": schedule, "chunks_per_stage": chunks}
    return {"parallel": shape}


# name -> (ranks, what differs, base)
RUNS = {
    "one rank": (1, {}, "one rank"),
    "pp 2, 1f1b": (2, pipeline("1f1b"), "one rank"),
    "pp 2, interleaved v 2": (2, pipeline("interleaved", 2), "one rank"),
    "dp 2, ZeRO 1": (2, zero(1), "one rank"),
    "dp 2, ZeRO 2": (2, zero(2), "one rank"),
    "dp 2, ZeRO 3": (2, zero(3), "one rank"),
    "dp 2, ZeRO 3, layer-major": (2, zero(3, pipeline_schedule="layer_major"), "one rank"),
    "dp 2, ZeRO 3, layer-major, weights on the host": (
        2,
        {**layer_major(base_weights="host"), **zero(3, pipeline_schedule="layer_major")},
        "one rank",
    ),
    "tp 2": (2, {"parallel": {"tensor": 2}}, "one rank"),
    "layer-major": (1, layer_major(), "layer-major"),
    "layer-major, weights on the host": (1, layer_major(base_weights="host"), "layer-major"),
    "layer-major, weights on disk": (1, layer_major(base_weights="disk"), "layer-major"),
}
# Recompute and place of activations, beside keeping everything on the device.
KEPT = {
    f"recompute {recompute}, {place}": (
        1,
        {"memory": {"recompute": recompute, "activations": place}},
        "recompute none, device",
    )
    for place in ("device", "host")
    for recompute in ("none", "smart", "full")
}
ALL_RUNS = RUNS | KEPT
BUBBLE = {"1f1b": 1, "interleaved": 2}  # schedule -> chunks a stage
MICROBATCHES = [2, 4, 8, 16, 32]


def config_of(options, method, ranks, changes, rows):
    parallel = changes.get("parallel", {})
    data_ranks = ranks // (parallel.get("tensor", 1) * parallel.get("pipeline", 1))
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
            "gradient_accumulation_steps": rows // data_ranks,
        },
        "optimizer": {"learning_rate": 1e-4},
        "precision": {"compute": options.precision},
        "device": "cpu",
        "output_dir": str(options.folder / "out"),
    }
    for section, keys in changes.items():
        config[section] = {**config.get(section, {}), **keys}
    return config


def run(options, method, ranks, changes, rows=ROWS):
    """(median seconds of a step, peak bytes of a rank)"""
    path, output = options.folder / "run.json", options.folder / "out"
    path.write_text(json.dumps(config_of(options, method, ranks, changes, rows)))
    shutil.rmtree(output, ignore_errors=True)
    command = [str(options.binary.resolve()), "train", f"--config={path}"]
    if ranks > 1:
        command = ["mpirun", "-np", str(ranks), *command]
    environment = {**os.environ, **MPI_ENVIRONMENT, "OMP_NUM_THREADS": str(2 // ranks)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{method}, {ranks} ranks, {changes}: {done.stderr}")
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    seconds = [line["seconds"] for line in lines[options.warm_up :]]
    return statistics.median(seconds), max(line["peak_bytes"] for line in lines)


def needs_frozen(name):
    keys = {key for section in ALL_RUNS[name][1].values() for key in section}
    return "base_weights" in keys


def compare(options, method):
    names = [n for n in options.only if method != "none" or not needs_frozen(n)]
    seconds, peak = {n: [] for n in names}, {}
    for _ in range(options.repeat):
        for name in names:
            ranks, changes, _ = ALL_RUNS[name]
            took, peak[name] = run(options, method, ranks, changes)
            seconds[name].append(took)
    for name in names:
        base, best = ALL_RUNS[name][2], min(seconds[name])
        ratio = f"{min(seconds[base]) / best:5.3f}" if base in seconds else "    -"
        print(
            f"{method:5} {name:46} {best:7.3f} s  {ratio} of {base:12} "
            f"{peak[name] / 2**20:7.0f} MiB",
            flush=True,
        )


def bubble(options, method):
    for schedule, chunks in BUBBLE.items():
        changes = pipeline(schedule, chunks)
        seconds = {m: [] for m in MICROBATCHES}
        for _ in range(options.repeat):
            for m in MICROBATCHES:
                seconds[m].append(run(options, method, 2, changes, rows=m)[0])
        best = [min(seconds[m]) for m in MICROBATCHES]
        b, a = statistics.linear_regression(MICROBATCHES, best)
        for m, took in zip(MICROBATCHES, best, strict=True):
            print(
                f"{method:5} {schedule:12} v {chunks}, m {m:2}: {took:7.3f} s  "
                f"bubble {a / (a + b * m):5.3f}  closed form {1 / (chunks * m + 1):5.3f}",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary", type=Path, nargs="?", default=ROOT / "build/release/fttrain")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", default=["lora", "qlora", "none"])
    parser.add_argument("--only", nargs="*", default=list(RUNS), help="names of runs")
    parser.add_argument(
        "--kept", dest="only", action="store_const", const=list(KEPT), help="those runs instead"
    )
    parser.add_argument("--bubble", action="store_true", help="the bubble instead")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--tokens", type=int, default=256, help="of a row")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1, help="steps not counted")
    parser.add_argument("--repeat", type=int, default=3, help="rounds of all runs")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/bench/layouts")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(1)
    rows = [[draw.randrange(1000) for _ in range(options.tokens)] for _ in range(max(MICROBATCHES))]
    lines = [json.dumps({"input_ids": row, "labels": row}) for row in rows]
    (options.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    for method in options.methods:
        (bubble if options.bubble else compare)(options, method)


if __name__ == "__main__":
    main()
