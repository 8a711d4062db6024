#!/usr/bin/env python3
"""What does QLoRA cost over LoRA on 16-bit weights, by tokens that share one pass over the weights?

    .venv/bin/python bench/qlora_overhead.py build/release/fttrain

The same program, the same rows, method lora and method qlora in turns; medians of steps. A pass is
one microbatch of that many tokens (1f1b), or that many tokens in microbatches of 512 which share
each layer's dequantisation (layer_major).
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

MODEL = {**compare_peft.MODEL, "num_hidden_layers": 4, "vocab_size": 2000}
MODEL.update(hidden_size=1280, intermediate_size=3584, max_position_embeddings=8192)
ROW = 512


def config(options, method, tokens, schedule):
    rows = tokens // ROW
    adapter = {"method": method, "r": 16, "alpha": 32, "target_modules": "all-linear"}
    return {
        "model": {"path": str(options.folder / "model")},
        "adapter": adapter,
        "data": {
            "train": [{"path": str(options.folder / "rows.jsonl"), "format": "tokens"}],
            "sequence_len": ROW,
            "packing": False,
            "shuffle": False,
        },
        "train": {
            "max_steps": options.steps,
            "micro_batch_size": 1 if schedule == "layer_major" else rows,
            "gradient_accumulation_steps": rows if schedule == "layer_major" else 1,
        },
        "parallel": {"pipeline_schedule": schedule},
        "precision": {"compute": "bf16"},
        "device": "cpu",
        "output_dir": str(options.folder / "out"),
    }


def step_seconds(options, method, tokens, schedule):
    path = options.folder / "run.yaml"
    path.write_text(json.dumps(config(options, method, tokens, schedule)))
    environment = {
        **os.environ,
        **compare_peft.MPI_ENVIRONMENT,
        "OMP_NUM_THREADS": str(options.threads),
    }
    command = [str(options.binary.resolve()), "train", f"--config={path}"]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    metrics = (options.folder / "out" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["seconds"] for line in metrics][1:]


def table(results):
    lines = [
        "| tokens a weight pass | schedule | LoRA tokens/s | QLoRA tokens/s | QLoRA's extra time |",
        "|---|---|---|---|---|",
    ]
    for row in results:
        extra = 100 * (row["qlora"] / row["lora"] - 1)
        lines.append(
            f"| {row['tokens']} | {row['schedule']} | {row['tokens'] / row['lora']:.0f} | "
            f"{row['tokens'] / row['qlora']:.0f} | {extra:+.1f} % |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = compare_peft.ROOT
    parser.add_argument("binary", type=Path, nargs="?", default=root / "build/release/fttrain")
    parser.add_argument("--tokens", type=int, nargs="*", default=[512, 1024, 2048, 4096, 8192])
    parser.add_argument("--steps", type=int, default=3, help="the first is not counted")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=root / "build/bench/qlora_overhead")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    compare_peft.MODEL.update(MODEL)
    rows = math.ceil(options.steps * max(options.tokens) / ROW)
    compare_peft.make_inputs(options.folder, math.ceil(rows / compare_peft.ROWS))
    results = []
    for schedule in ("1f1b", "layer_major"):
        for tokens in options.tokens:
            if schedule == "layer_major" and tokens == ROW:
                continue  # one microbatch: the line above
            seconds = {"lora": [], "qlora": []}
            for _ in range(options.repeat):
                for method, measured in seconds.items():
                    measured += step_seconds(options, method, tokens, schedule)
            medians = {method: statistics.median(s) for method, s in seconds.items()}
            results.append({"tokens": tokens, "schedule": schedule, **medians})
            print(json.dumps(results[-1]), flush=True)
    print(table(results))
    print(f"\n- machine: {compare_peft.machine()}\n- threads: {options.threads}")
    print(f"- date: {time.strftime('%Y-%m-%d')}")


if __name__ == "__main__":
    main()
