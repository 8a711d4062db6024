#!/usr/bin/env python3
"""Writes int8_adamw.json: twenty steps of bitsandbytes' 8-bit blockwise AdamW on one tensor.

    .venv/bin/python tests/golden/make_int8_adamw_golden.py     (5 s)

The steps are bitsandbytes' own (its operator optimizer_update_8bit_blockwise on the CPU), twice:

- "nearest": with every moment quantised to the nearest code, and negative first moments kept
  negative, as its CUDA kernel quantises. The nearest code is found here by brute force in float64.
- "cpu": with its CPU kernel, which misses the nearest code of a few elements.

5003 elements are 20 blocks, the last one not full. Gradients and initial values are formulas that
the test repeats exactly in float32: block 3 has no gradient, block 5 one at the first step alone,
and the blocks' sizes span nine orders of magnitude. Stored: both codes as hex, both absmax, the
values at every 16th element.
"""

import json
import pathlib

import bitsandbytes as bnb
import bitsandbytes.backends.cpu.ops as cpu_ops
import numpy as np
import torch

NUMEL, STEPS, BLOCK = 5003, 20, 256
OPTIONS = {
    "lr": 1e-2,
    "beta1": 0.9,
    "beta2": 0.95,
    "eps": 1e-8,
    "weight_decay": 0.1,
    "grad_scale": 0.375,
}
BNB_QUANTISE = cpu_ops._quant_blockwise_fp32_direct


def noise(i, salt):
    """A whole number in [-2048, 2048)."""
    return ((((i + salt * 7919) * 2654435761) & 0xFFFFFFFF) >> 20).astype(np.int64) - 2048


def initial():
    return (noise(np.arange(NUMEL), 77) / 4096).astype(np.float32)


def gradient(step):
    i = np.arange(NUMEL)
    block = i // BLOCK
    g = (2 * noise(i, step) + noise(i, 1000)) / 4096 * 2.0 ** (-2 * (block % 17))
    g[block == 3] = 0
    if step > 0:
        g[block == 5] = 0
    return g.astype(np.float32)


def nearest_quantise(values, code, absmax_out, out, blocksize):
    signed = bool(code[0] < 0)
    grid = code.double()
    for b, start in enumerate(range(0, values.numel(), blocksize)):
        x = values[start : start + blocksize]
        absmax = x.abs().max()
        absmax_out[b] = absmax
        scaled = x / (absmax if absmax > 0 else 1)
        codes = (scaled.double().unsqueeze(-1) - grid).abs().argmin(-1)
        if signed:
            codes = torch.where((scaled < 0) & (code[codes] == 0), codes - 1, codes)
        out[start : start + blocksize] = codes.to(torch.uint8)


def run(quantise):
    cpu_ops._quant_blockwise_fp32_direct = quantise
    blocks = -(-NUMEL // BLOCK)
    p = torch.from_numpy(initial())
    codes = [torch.zeros(NUMEL, dtype=torch.uint8) for _ in range(2)]
    absmax = [torch.zeros(blocks) for _ in range(2)]
    maps = [bnb.functional.create_dynamic_map(signed) for signed in (True, False)]
    values = {}
    for step in range(STEPS):
        bnb.functional.optimizer_update_8bit_blockwise(
            "adam",
            torch.from_numpy(gradient(step)),
            p,
            *codes,
            OPTIONS["beta1"],
            OPTIONS["beta2"],
            0.0,
            0.0,
            OPTIONS["eps"],
            step + 1,
            OPTIONS["lr"],
            *maps,
            *absmax,
            OPTIONS["weight_decay"],
            OPTIONS["grad_scale"],
        )
        if step in (0, STEPS - 1):
            values[str(step + 1)] = [float(f"{x:.9g}") for x in p[5::16].tolist()]
    return {
        "values": values,
        "codes": [c.numpy().tobytes().hex() for c in codes],
        "absmax": [[float(f"{x:.9g}") for x in a.tolist()] for a in absmax],
    }


def main():
    golden = {
        "bitsandbytes": bnb.__version__,
        "torch": torch.__version__,
        "numel": NUMEL,
        "steps": STEPS,
        "options": OPTIONS,
        "nearest": run(nearest_quantise),
        "cpu": run(BNB_QUANTISE),
    }
    del golden["cpu"]["codes"], golden["cpu"]["absmax"], golden["cpu"]["values"]["1"]
    path = pathlib.Path(__file__).with_name("int8_adamw.json")
    path.write_text(json.dumps(golden, separators=(",", ":")).replace('],"', '],\n"') + "\n")


if __name__ == "__main__":
    main()
