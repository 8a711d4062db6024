"""gpu_day.sh's program; see there."""

import argparse
import sys
import tempfile
from pathlib import Path

import correctness
import speed
import steps

SECONDS = {"A": 300, "B": 360}


def main():
    parser = argparse.ArgumentParser(prog="gpu_day.sh")
    parser.add_argument("half", choices=["A", "B", "record"])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--seconds", type=int, help="of the half; the default is what a GPU needs")
    options = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory(prefix="gpu-day-") as scratch:
        if options.half == "record":
            return correctness.record(root, Path(scratch))
        seconds = options.seconds or SECONDS[options.half] * (1 if options.device == "cuda" else 4)
        day = steps.Day(options.half, options.device, root, options.results, seconds)
        print(f"{options.half} on {day.card}, commit {day.commit}", flush=True)
        program = correctness if options.half == "A" else speed
        wanted = lambda step: not options.only or any(word in step.name for word in options.only)
        program.run(day, root, Path(scratch), wanted)
        return day.summary()


if __name__ == "__main__":
    sys.exit(main())
