#!/usr/bin/env python3
"""How fast is NF4 dequantisation on a CPU beside bitsandbytes' dequantize_4bit?

    .venv/bin/python bench/nf4_beside_bitsandbytes.py build/release/bench/nf4_bench --threads 1

Both take a weight of 8192 x 8192 in blocks of 64, in turns (ours, theirs, ours, ...); the table shows medians. Times
are processor time over threads, as nf4_bench takes them: other programs disturb it less. bitsandbytes allocates its
result in every call; the second column of its times leaves that out. Needs `launch/setup.sh --with-tests`.
"""

import argparse
import os
import platform
import re
import statistics
import subprocess
import time
from unittest import mock

SIZE, REPEATS = 8192, 9
CASES = [(to, scales) for to in ("bfloat16", "float32") for scales in ("nested scales", "float32 scales")]


def ours(program, threads):
    text = subprocess.run([program, "cpu", str(threads)], check=True, capture_output=True, text=True).stdout
    copy = float(re.search(r"copy of .* ([\d.]+) GB/s", text).group(1))
    return copy, {c: float(re.search(rf"dequantise to {c[0]}, {c[1]} +([\d.]+) ms", text).group(1)) for c in CASES}


def theirs(threads):
    """Milliseconds as called, and with the result's memory at hand."""
    import bitsandbytes.functional as F
    import torch

    torch.set_num_threads(threads)
    weight = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 0.02
    times = {}
    for to, scales in CASES:
        packed, state = F.quantize_4bit(
            weight, blocksize=64, quant_type="nf4", compress_statistics=scales == "nested scales"
        )
        state.dtype = getattr(torch, to)
        out, empty = torch.zeros(SIZE, SIZE, dtype=state.dtype), torch.empty

        def at_hand(shape, *args, **kwargs):
            return out if tuple(shape) == (SIZE, SIZE) else empty(shape, *args, **kwargs)

        def median():
            taken = []
            for _ in range(REPEATS):
                start = time.process_time()
                F.dequantize_4bit(packed, state)
                taken.append((time.process_time() - start) / threads * 1e3)
            return statistics.median(taken)

        as_called = median()
        with mock.patch.object(torch, "empty", at_hand):
            times[to, scales] = (as_called, median())
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    runs = [(ours(arguments.program, arguments.threads), theirs(arguments.threads)) for _ in range(arguments.turns)]
    copy = statistics.median(mine[0] for mine, _ in runs)
    print(f"{platform.processor() or platform.machine()}, {arguments.threads} threads, copy {copy:.1f} GB/s")
    print("| to, scales | fttrain ms | of copy | bitsandbytes ms | without allocation | times as fast |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        mine = statistics.median(m[1][case] for m, _ in runs)
        called, kernel = (statistics.median(t[case][i] for _, t in runs) for i in range(2))
        scale_bytes = 1 / 64 if case[1] == "nested scales" else 4 / 64
        moved = SIZE * SIZE * (0.5 + scale_bytes + (2 if case[0] == "bfloat16" else 4))
        share = moved / mine * 1e-6 / copy
        print(
            f"| {case[0]}, {case[1]} | {mine:.1f} | {share:.2f} | {called:.1f} | {kernel:.1f} "
            f"| {called / mine:.1f}, {kernel / mine:.1f} |"
        )


if __name__ == "__main__":
    main()
