#!/usr/bin/env python3
"""Does a run keep to the memory that it counts, whatever the lengths of its rows?

    .venv/bin/python bench/resident.py build/release/fttrain --model=models/SmolLM2-135M-Instruct

Trains LoRA in bf16 on the CPU on rows of different lengths, one a microbatch, and prints what the process has resident
after every so many steps beside what its ledger counted at most, and tokens a second. Then the same with the caches of
shapes unbounded, as libraries have them by default. Before that, on rows of one length: what the plan says that a run
needs, and what it had resident at most.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare_peft import MPI_ENVIRONMENT

UNBOUNDED = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1024", "LRU_CACHE_CAPACITY": "1024"}


def write_rows(path, count):
    draw = random.Random(7)
    with path.open("w") as file:
        for _ in range(count):
            # Most are short, some are long, as answers are.
            length = min(700, max(20, int(draw.lognormvariate(4.8, 0.6))))
            ids = [draw.randrange(5, 40000) for _ in range(length)]
            file.write(json.dumps({"input_ids": ids, "labels": ids}) + "\n")


def config_of(options, folder):
    return {
        "model": {"path": str(options.model.resolve())},
        "adapter": {"method": "lora", "r": 16},
        "data": {
            "train": [{"path": str(folder / "rows.jsonl"), "format": "tokens"}],
            "sequence_len": 1024,
            "packing": False,
        },
        "train": {"max_steps": options.steps, "gradient_accumulation_steps": 1, "save_steps": options.steps * 2},
        "device": "cpu",
        "output_dir": str(folder / "out"),
    }


def resident_mib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def started(options, folder, environment):
    return subprocess.Popen(
        [str(options.binary.resolve()), "train", f"--config={folder / 'run.json'}"],
        env={**os.environ, **MPI_ENVIRONMENT, "OMP_NUM_THREADS": str(options.threads), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def beside_plan(options, method, compute):
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = [json.dumps({"input_ids": [7 + i] * 512, "labels": [7 + i] * 512}) for i in range(12)]
        (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")
        config = config_of(options, folder)
        config["adapter"] = {"method": "none"} if method == "full" else {"method": method, "r": 16}
        config["precision"] = {"compute": compute}
        config["data"]["sequence_len"] = 512
        config["train"] |= {"max_steps": 12, "save_steps": 0}
        (folder / "run.json").write_text(json.dumps(config))
        planned = subprocess.run(
            [str(options.binary.resolve()), "plan", f"--config={folder / 'run.json'}", "--json"],
            check=True, capture_output=True, text=True,
        )
        rank = json.loads(planned.stdout)["ranks"][0]
        need = (rank["tracked_peak"] + rank["untracked"]) / 2**20
        process, most = started(options, folder, {}), 0.0
        while process.poll() is None:
            # Until it is done: what writes the result is not of a step.
            if not (folder / "out/metrics.jsonl").exists() or len(
                    (folder / "out/metrics.jsonl").read_bytes().splitlines()) < 12:
                most = max(most, resident_mib(process.pid))
            time.sleep(0.02)
        if process.returncode != 0:
            sys.exit(process.stderr.read())
        print(f"{method:5} {compute}  plan {need:6.0f} MiB  resident at most {most:6.0f} MiB  {most / need - 1:+.1%}",
              flush=True)


def curve(options, name, environment):
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_rows(folder / "rows.jsonl", options.steps)
        (folder / "run.json").write_text(json.dumps(config_of(options, folder)))
        metrics = folder / "out/metrics.jsonl"
        process = started(options, folder, environment)
        told = 0
        while process.poll() is None:
            lines = metrics.read_bytes().splitlines() if metrics.exists() else []
            if len(lines) >= told + options.every:
                told = len(lines) // options.every * options.every
                resident = resident_mib(process.pid)
                row = json.loads(lines[told - 1])
                print(f"{name:10} step {told:5}  resident {resident:7.0f} MiB  "
                      f"tracked peak {row['peak_bytes'] / 2**20:7.0f} MiB", flush=True)
            time.sleep(0.05)
        if process.returncode != 0:
            sys.exit(process.stderr.read())
        rows = [json.loads(line) for line in metrics.read_text().splitlines()]
        rows = rows[len(rows) // 5 :]
        speed = sum(row["tokens"] for row in rows) / sum(row["seconds"] for row in rows)
        print(f"{name:10} {speed:.1f} tokens a second after the first fifth of the steps")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    for method, compute in (("lora", "fp32"), ("lora", "bf16"), ("qlora", "bf16"), ("full", "fp32"), ("full", "bf16")):
        beside_plan(options, method, compute)
    curve(options, "bounded", {})
    curve(options, "unbounded", UNBOUNDED)


if __name__ == "__main__":
    main()
