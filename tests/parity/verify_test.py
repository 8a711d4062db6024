#!/usr/bin/env python3
"""verify_test.py BINARY: `fttrain verify` as a user runs it: it finds nothing in layouts that are
right and leaves nothing behind; what it finds ends mpirun with a code of its own and lines that
name tensor and rank."""

import sys
from functools import partial
from pathlib import Path

import harness
import tiny_models

DIFFERS = 80

# name -> (method, ranks, sections of the config, flags of verify)
RIGHT = {
    "lora tp 2": ("lora", 2, {"parallel": {"tensor": 2}}, []),
    "qlora pp 2": ("qlora", 2, {"parallel": {"pipeline": 2}}, []),
    "full dp 2 zero 3 in bfloat16": (
        "full",
        2,
        {"parallel": {"zero_stage": 3}, "precision": {"compute": "bf16"}},
        [],
    ),
    "lora tp 2 in bfloat16": (
        "lora",
        2,
        {"parallel": {"tensor": 2}, "precision": {"compute": "bf16"}},
        [],
    ),
    "full tp 2 with 8-bit moments": (
        "full",
        2,
        {"parallel": {"tensor": 2}, "optimizer": {"state": "int8"}},
        [],
    ),
    "qlora tp 2 x pp 2 from disk, against tp 2": (
        "qlora",
        4,
        {
            "parallel": {"tensor": 2, "pipeline": 2},
            "memory": {"base_weights": "disk", "recompute": "full", "activations": "host"},
        },
        ["--reference=tp=2"],
    ),
}


def files_of(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def run(binary, folder, golden, method, ranks, sections, flags):
    """CompletedProcess of verify, after which the folder must be as before."""
    config = harness.run_config(folder, golden, method, 5, parallel={"pipeline": 1})
    for section, keys in sections.items():
        config[section] = {**config.get(section, {}), **keys}
    path = harness.write_config(folder, config)
    before = files_of(folder)
    done = harness.mpirun(binary, ranks, ["verify", f"--config={path}", *flags], timeout=100)
    if files_of(folder) != before:
        raise harness.Failure(f"left behind {set(files_of(folder)) - set(before)}")
    return done


def is_right(binary, folder, golden, *layout):
    done = run(binary, folder, golden, *layout)
    if done.returncode != 0:
        raise harness.Failure(f"exit {done.returncode}: {done.stderr.strip()[:500]}")
    last = done.stdout.strip().splitlines()[-1]
    if not last.startswith("verify: ") or "over 3 steps" not in last:
        raise harness.Failure(f"the last line is '{last}'")
    return last


def is_named(binary, folder, golden):
    """Float32's rounding is a difference for whoever allows less."""
    flags = ["--tolerance=1e-9", "--steps=1"]
    done = run(binary, folder, golden, "lora", 2, {"parallel": {"tensor": 2}}, flags)
    lines = [line for line in done.stderr.splitlines() if line.startswith("fttrain: error[80]")]
    if done.returncode != DIFFERS or not lines:
        raise harness.Failure(f"exit {done.returncode}, {DIFFERS} expected: {done.stderr[:300]}")
    named = [line for line in lines if "gradient of base_model.model.model.layers." in line]
    if not named or " on rank" not in named[0]:
        raise harness.Failure(f"no line names tensor and rank: {lines}")
    return named[0]


def main():
    binary = Path(sys.argv[1])
    golden = harness.load_golden()
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        tiny_models.write_case("llama_tied", folder)
        checks = [
            (name, partial(is_right, binary, folder, golden, *layout))
            for name, layout in RIGHT.items()
        ]
        checks.append(("a difference is named", partial(is_named, binary, folder, golden)))
        harness.run_checks(checks)


if __name__ == "__main__":
    main()
