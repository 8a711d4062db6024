#!/usr/bin/env python3
"""smollm2_layouts.py BINARY MODEL: a real model in every kind of layout, the same loss curve.

MODEL: SmolLM2-135M-Instruct as launch/smollm2.py writes it (9 heads, 3 kv heads, 30 layers, tied
embeddings). Trains LoRA in float32 on the quick start's data and compares loss and gradient norm of
every step with one rank's. Not part of the normal test run: it needs the model.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from harness import Failure, run_or_fail

ROOT = Path(__file__).resolve().parents[2]
ROWS = 8  # a step
LAYOUTS = {  # name -> (ranks, parallel, memory)
    "one rank": (1, {}, {}),
    "pp 2": (2, {"pipeline": 2}, {}),
    "pp 2, interleaved": (
        2,
        {"pipeline": 2, "pipeline_schedule": "interleaved", "chunks_per_stage": 2},
        {"recompute": "full"},
    ),
    "pp 3": (3, {"pipeline": 3}, {"recompute": "smart", "activations": "host"}),
    "pp 2 x dp 2": (4, {"pipeline": 2}, {}),
    "tp 3": (3, {"tensor": 3}, {}),
    "dp 2, ZeRO 3": (2, {"zero_stage": 3}, {}),
    "streamed, layer-major": (1, {"pipeline_schedule": "layer_major"}, {"base_weights": "host"}),
}


def curve(options, folder, ranks, parallel, memory):
    """[(loss, grad_norm)] by step."""
    dp = ranks // (parallel.get("tensor", 1) * parallel.get("pipeline", 1))
    config = {
        "model": {"path": str(options.model.resolve())},
        "adapter": {"method": "lora", "r": 8, "alpha": 16},
        "data": {
            "train": [{"path": str(ROOT / "data/quickstart/identity.jsonl"), "format": "messages"}],
            "sequence_len": 256,
            "packing": False,
        },
        "train": {
            "max_steps": options.steps,
            "micro_batch_size": 1,
            "gradient_accumulation_steps": ROWS // dp,
            "seed": 42,
        },
        "optimizer": {"learning_rate": 1e-3},
        "precision": {"compute": "fp32"},
        "parallel": parallel,
        "memory": memory,
        "output_dir": str(folder / "out"),
    }
    path = folder / "run.json"
    path.write_text(json.dumps(config))
    run_or_fail(options.binary, ranks, ["train", f"--config={path}"], timeout=1800)
    rows = (folder / "out" / "metrics.jsonl").read_text().splitlines()
    return [(row["loss"], row["grad_norm"]) for row in map(json.loads, rows)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tolerance", type=float, default=1e-4, help="relative")
    options = parser.parse_args()
    worst, want = 0.0, None
    for name, layout in LAYOUTS.items():
        with tempfile.TemporaryDirectory() as folder:
            got = curve(options, Path(folder), *layout)
        want = want or got
        if len(got) != options.steps:
            raise Failure(f"{name}: {len(got)} steps")
        loss = max(abs(a[0] - b[0]) / b[0] for a, b in zip(got, want, strict=True))
        norm = max(abs(a[1] - b[1]) / b[1] for a, b in zip(got, want, strict=True))
        worst = max(worst, loss, norm)
        print(
            f"{name:24} loss {got[0][0]:.6f} ... {got[-1][0]:.6f}  "
            f"differs by {loss:.1e} (loss), {norm:.1e} (norm)",
            flush=True,
        )
    return 0 if worst < options.tolerance else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(str(failure))
