#!/usr/bin/env python3
"""plan_test.py BINARY: what `fttrain plan` says before anything is there is what a run then measures, to the byte, and
a run that does not fit ends before it reads a weight."""

import json
import re
import sys
from pathlib import Path

import harness
import tiny_models

TOKENS = 40  # of a row

# (ranks, method, keys)
RUNS = [
    (1, "lora", {}),
    (1, "full", {"optimizer": {"state": "int8"}}),
    (1, "lora", {"memory": {"recompute": "full", "activations": "host", "base_weights": "host"}}),
    (2, "lora", {"parallel": {"tensor": 2, "sequence_parallel": True}}),
    (2, "full", {"parallel": {"pipeline": 2}}),
    (2, "qlora", {"parallel": {"zero_stage": 3}, "memory": {"recompute": "smart"}}),
    (4, "lora", {"parallel": {"tensor": 2, "pipeline": 2}, "precision": {"compute": "bf16"}}),
]


def full_rows(folder):
    """As many rows of TOKENS tokens, all learnt, as two steps take."""
    ids = [5 + i % 400 for i in range(TOKENS)]
    tiny_models.write_rows(folder / "rows.jsonl", [{"input_ids": ids, "labels": ids}] * 16)


def prepare(folder, method, keys):
    tiny_models.write_case("llama_grouped", folder)
    full_rows(folder)
    config = harness.run_config(folder, harness.load_golden(), method, 2, **keys)
    config["data"]["sequence_len"] = TOKENS
    return config


def plan(binary, folder, config, ranks, *flags):
    path = harness.write_config(folder, config)
    done = harness.run_or_fail(binary, 1, ["plan", f"--config={path}", f"--ranks={ranks}", "--json", *flags])
    return json.loads(done.stdout)


def is_foretold(binary, ranks, method, keys):
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        config = prepare(folder, method, keys)
        planned = plan(binary, folder, config, ranks)["ranks"]
        if Path(config["output_dir"]).exists():
            raise harness.Failure("planning made the output folder")
        harness.train(binary, folder, ranks, config)
        measured = json.loads((Path(config["output_dir"]) / "memory.json").read_text())["ranks"]
    if len(measured) != ranks:
        raise harness.Failure(f"{len(measured)} ranks measured, {ranks} trained")
    for before, after in zip(planned, measured):
        for key, value in after.items():
            if before[key] != value:
                raise harness.Failure(f"rank {after['rank']}, {key}: planned {before[key]}, measured {value}")
    return f"{planned[0]['tracked_peak']:,} bytes on rank 0"


def refuses(binary):
    """Too small a limit by a byte; one that suffices suffices."""
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        config = prepare(folder, "lora", {"parallel": {"tensor": 2}})
        most = max(rank["tracked_peak"] for rank in plan(binary, folder, config, 2)["ranks"])
        config["memory"] = {"limit": most / 2**30}
        harness.train(binary, folder, 2, config)
        config["memory"] = {"limit": (most - 1) / 2**30}
        config["output_dir"] = str(folder / "never")
        done = harness.mpirun(binary, 2, ["train", f"--config={harness.write_config(folder, config)}"], 60)
        began = (folder / "never" / "metrics.jsonl").exists()
    said = done.stderr
    if began:
        raise harness.Failure("it began")
    if done.returncode != 64:
        raise harness.Failure(f"exit {done.returncode}: {said}")
    want = r"the run does not fit: [\d,]+ bytes are needed \(.*weights .* are memory\.limit: .*this makes it fit: (memory|optimizer)\.\w+=\w+ \("
    if not re.search(want, said):
        raise harness.Failure(f"'{said}' does not say /{want}/")
    return "exit 64 of what is a byte too little"


def tells(binary):
    """Text: a line for ranks that are alike, what is left, or what would help."""
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        config = prepare(folder, "lora", {"parallel": {"tensor": 2}})
        path = harness.write_config(folder, config)
        for memory, want in [("1", r"ranks 0-1 .*fits, 0\.\d\d left"),
                             ("0.0001", r"ranks 0-1 .*does not fit, .* too much(.|\n)*no key of memory helps")]:
            said = harness.run_or_fail(
                binary, 1, ["plan", str(path), f"--memory={memory}", "device=cuda", "precision.compute=bf16"]).stdout
            if not re.search(want, said):
                raise harness.Failure(f"'{said}' does not say /{want}/")
    return "fits and does not"


def main():
    binary = Path(sys.argv[1])
    checks = [(f"{method} on {ranks} ranks, {keys}", lambda r=(ranks, method, keys): is_foretold(binary, *r))
              for ranks, method, keys in RUNS]
    checks.append(("a run that does not fit", lambda: refuses(binary)))
    checks.append(("what a person reads", lambda: tells(binary)))
    harness.run_checks(checks)


if __name__ == "__main__":
    main()
