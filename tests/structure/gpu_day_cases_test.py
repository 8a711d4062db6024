#!/usr/bin/env python3
"""What a GPU day trains is what was recorded: the same cases, of the same models."""

import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench/gpu_day"))

from cases import CASES  # noqa: E402
from correctness import RECORDED, Runs  # noqa: E402


def main():
    recorded = json.loads(RECORDED.read_text())
    differ = set(recorded["cases"]) ^ set(CASES)
    if differ:
        sys.exit(f"recorded.json or cases.py alone has {sorted(differ)}: bench/gpu_day.sh record")
    with tempfile.TemporaryDirectory() as scratch:
        made = Runs(ROOT, Path(scratch), "cpu").digests
    if made != recorded["digests"]:
        sys.exit(f"models are {made}, recorded were {recorded['digests']}")


if __name__ == "__main__":
    main()
