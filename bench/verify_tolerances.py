#!/usr/bin/env python3
"""How far are right layouts from their reference, beside what `fttrain verify` allows?

    .venv/bin/python bench/verify_tolerances.py build/release/fttrain [--model=FOLDER --data=ROWS.jsonl]

Verifies lora, qlora and full training on tp 2, pp 2, tp 2 x pp 2 and tp 2 x dp 2 with ZeRO 3, in
float32 and bfloat16, and prints the worst error of all steps: of the loss, of the gradient norm, of
a gradient and of an update. In bfloat16 as they are, and gradients and updates as shares of what is
allowed beside the same steps in float32. Right layouts must stay well below the numbers of
launch/verify/compare.cc. The models are the parity tests' (64 wide, 3 layers); or --model, with
rows of tokens.
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "parity"))

import harness
import tiny_models

LAYOUTS = {
    "tp 2": (2, {"tensor": 2}),
    "pp 2": (2, {"pipeline": 2}),
    "tp 2 x pp 2": (4, {"tensor": 2, "pipeline": 2}),
    "tp 2 x dp 2, ZeRO 3": (4, {"tensor": 2, "zero_stage": 3}),
}
METHODS = ("lora", "qlora", "full")
# What is run -> (precision, flags). A tolerance of its own leaves out the float32 steps.
RUNS = {
    "float32": ("fp32", []),
    "bfloat16": ("bf16", ["--tolerance=0.9"]),
    "bfloat16, of what is allowed": ("bf16", []),
}
NUMBER = r"([\d.e+-]+|inf)"
ERROR = rf"(?:none|{NUMBER} / {NUMBER} \S+)"
ROW = re.compile(
    rf"^ +\d+ +\S+ +\S+ +{NUMBER} +\S+ +\S+ +{NUMBER} +(?:equal|DIFFER) +{ERROR} \| {ERROR}$"
)
COLUMNS = ("loss", "norm", "gradient", "update")


def errors_of(output, share):
    """The worst of each column in a table of verify, or of each error's share of the allowed."""
    worst = dict.fromkeys(COLUMNS, 0.0)
    rows = [match.groups(default="0") for match in map(ROW.match, output.splitlines()) if match]
    if not rows:
        raise harness.Failure("verify printed no table")
    for loss, norm, *pairs in rows:
        gradient, gradient_allowed, update, update_allowed = map(float, pairs)
        if share:
            gradient /= gradient_allowed or 1
            update /= update_allowed or 1
        for column, value in zip(COLUMNS, (float(loss), float(norm), gradient, update)):
            worst[column] = max(worst[column], value)
    return worst


def measure(args, folder, golden, run):
    precision, flags = RUNS[run]
    worst = {column: (0.0, "") for column in COLUMNS}
    for method in METHODS:
        for layout, (ranks, parallel) in LAYOUTS.items():
            config = harness.run_config(folder, golden, method, 5, parallel=parallel)
            config["precision"] = {"compute": precision}
            if args.model:
                config["model"] = {"path": args.model}
                config["adapter"] = {"method": "none" if method == "full" else method}
                config["data"]["train"] = [{"path": args.data, "format": "tokens"}]
            path = harness.write_config(folder, config)
            arguments = ["verify", f"--config={path}", *flags]
            done = harness.run_or_fail(args.binary, ranks, arguments, timeout=3600)
            found = errors_of(done.stdout, share=not flags and precision == "bf16")
            for column, value in found.items():
                worst[column] = max(worst[column], (value, f"{method}, {layout}"))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--data")
    args = parser.parse_args()
    golden = harness.load_golden()
    print(f"| | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        tiny_models.write_case("llama_tied", folder)
        for run in RUNS:
            worst = measure(args, folder, golden, run)
            cells = [f"{value:.1e} ({where})" for value, where in worst.values()]
            print(f"| {run} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
