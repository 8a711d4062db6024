#!/usr/bin/env python3
"""What does a busy neighbour cost, and what does making room for it cost alone?

    .venv/bin/python bench/neighbour.py build/release/fttrain --model=models/SmolLM2-135M-Instruct

LoRA on the quick start's rows, as one rank with a thread for each of two cores, and as two ranks that each have a copy
or a half of the model; alone, and beside a process that spins on any of the cores. Under each wait policy: the program's
own, libgomp's own (GOMP_SPINCOUNT=300000) and sleep at once (OMP_WAIT_POLICY=passive). Tokens a second, the median of a
run's steps but the first few, of --repeat runs that take turns the best; beside it the share of the run that is alone
under libgomp's own policy. A neighbour takes a half of one of two cores where the run keeps both busy: 75 % are left.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from compare_peft import MPI_ENVIRONMENT, ROOT

POLICIES = {
    "libgomp's own": {"GOMP_SPINCOUNT": "300000"},
    "sleep at once": {"OMP_WAIT_POLICY": "passive"},
    "fttrain": {},
}
# name: (ranks, threads of a rank, keys)
LAYOUTS = {
    "1 rank, 2 threads": (1, 2, {}),
    "replicas 2, 1 thread": (2, 1, {}),
    "pipeline 2, 1 thread": (2, 1, {"pipeline": 2}),
}


def config_of(options, parallel):
    return {
        "model": {"path": str(options.model.resolve())},
        "adapter": {"method": "lora", "r": 8},
        "data": {"train": [{"path": str(ROOT / "data/quickstart/identity.jsonl")}], "sequence_len": options.tokens},
        "train": {"max_steps": options.steps, "gradient_accumulation_steps": 4, "resume": "never"},
        "parallel": parallel,
        "device": "cpu",
        "output_dir": str(options.folder / "out"),
    }


def tokens_per_second(options, layout, policy):
    ranks, threads, parallel = LAYOUTS[layout]
    path = options.folder / "run.json"
    path.write_text(json.dumps(config_of(options, parallel)))
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment |= {**MPI_ENVIRONMENT, "OMP_NUM_THREADS": str(threads), **POLICIES[policy]}
    command = ["mpirun", "-np", str(ranks), str(options.binary.resolve()), "train", f"--config={path}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"exit {done.returncode}: {done.stderr[:500]}")
    rows = [json.loads(line) for line in (options.folder / "out/metrics.jsonl").read_text().splitlines()]
    return statistics.median(row["tokens_per_second"] for row in rows if row.get("step", 0) > 3)


def beside(neighbours, measure):
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(neighbours)]
    try:
        return measure()
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=list(LAYOUTS))
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "build/bench/neighbour")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| layout | waits | alone | share | beside | share |\n|---|---|---|---|---|---|")
    for layout in options.layouts:
        best = {}
        for _ in range(options.repeat):
            for policy in options.policies:
                for neighbours in (0, 1):
                    seen = beside(neighbours, lambda: tokens_per_second(options, layout, policy))
                    best[policy, neighbours] = max(seen, best.get((policy, neighbours), 0))
        whole = best[options.policies[0], 0]
        for policy in options.policies:
            cells = [f"{best[policy, n]:.0f} | {best[policy, n] / whole:.2f}" for n in (0, 1)]
            print(f"| {layout} | {policy} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
