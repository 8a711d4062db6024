#!/usr/bin/env python3
"""Writes tests/golden/nf4.json: what bitsandbytes' CPU backend makes of matrices of many kinds, as hashes.

    .venv/bin/python tests/golden/make_nf4_golden.py tests/golden/nf4.json      # pip: bitsandbytes, torch

Inputs are made from their index by integer arithmetic (matrix(), repeated in tests/model/nf4/nf4_test.cc), so none is
stored. A hash is FNV-1a, 64 bits, over the bytes. Two things are not bitsandbytes' CPU backend's own:
- 8-bit codes of scales are the nearest ones, as its CUDA kernel dQuantize picks them, written out in nearest_codes().
  Its CPU kernel takes them from a table over a coarse grid, and now and then misses by one.
- bfloat16 results are its float32 results rounded by torch. They are asserted to equal its bfloat16 results except
  where those are below the smallest normal number, which its AVX-512 BF16 code flushes to zero.
"""

import json
import sys

import bitsandbytes
import bitsandbytes.functional as F
import numpy as np
import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SMALLEST_NORMAL = 2.0**-126


def fnv(array):
    value = 0xCBF29CE484222325
    for byte in np.ascontiguousarray(array).tobytes():
        value = ((value ^ byte) * 0x100000001B3) & (2**64 - 1)
    return f"{value:016x}"


def matrix(kind, rows, columns, dtype):
    i = np.arange(rows * columns, dtype=np.uint64)
    k = (i * 2654435761 + 40503) & 0xFFFFFFFF
    k ^= k >> 15
    k = (k * 2246822519) & 0xFFFFFFFF
    k ^= k >> 13
    u = ((k >> 8).astype(np.int64) - 2**23).astype(np.float32) / np.float32(2**23)
    x = (u * u) * u
    half = dtype == "float16"
    if kind == "constant":
        x = np.full_like(x, -0.375)
    elif kind == "zero":
        x = np.zeros_like(x)
    elif kind == "holes":  # blocks of zeros among others
        x = np.where(i // 128 % 3 == 1, np.float32(0), x)
    elif kind == "thresholds":  # every middle of two codes and its neighbours, scaled by 1
        code = F.get_4bit_type("nf4", device="cpu").numpy()
        middle = (code[1:] + code[:-1]) / np.float32(2)
        near = np.stack([np.nextafter(middle, np.float32(-2)), middle, np.nextafter(middle, np.float32(2))], 1)
        near = np.append(near.reshape(-1), np.float32(1))  # 46 values
        x = near[i % 32 if columns % 32 else (i + i // 32 * 7) % 46]
        x = np.where(i % 32 == 31, np.float32(1), x)
    else:
        exponent = {"random": -5, "tiny": -14 if half else -120, "denormal": -18 if half else -128,
                    "huge": 15 if half else 112}[kind]
        x = x * np.float32(2.0**exponent)
    return torch.from_numpy(x.astype(np.float32)).reshape(rows, columns).to(DTYPES[dtype])


def nearest_codes(x, code):
    """dQuantize: the nearest entry by middles in float32; a tie goes to the even index."""
    middle = (code[1:] + code[:-1]) * np.float32(0.5)
    lower = np.searchsorted(middle, x, side="left")  # ties to the lower
    tie = (lower < 255) & (middle[np.minimum(lower, 254)] == x) & (lower % 2 == 1)
    return (lower + tie).astype(np.uint8)


def double_quantised(absmax, state):
    """Checks offset and groups of bitsandbytes' state and puts the nearest codes into it."""
    offset, code = state.offset.numpy(), state.state2.code.numpy()
    assert offset == absmax.mean().numpy()
    difference = absmax.numpy() - offset
    groups = np.array([np.abs(difference[g : g + 256]).max() for g in range(0, len(difference), 256)], np.float32)
    assert (groups == state.state2.absmax.numpy()).all()
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = difference * np.repeat(np.float32(1) / groups, 256)[: len(difference)]
    nearest = np.where(np.isnan(scaled), 0, nearest_codes(scaled, code)).astype(np.uint8)
    missed = int((nearest != state.absmax.numpy()).sum())
    assert missed <= 0.01 * len(nearest) + 1, missed
    state.absmax = torch.from_numpy(nearest)
    return {"offset": np.float32(offset).view(np.uint32).item(), "groups": fnv(groups), "scales": fnv(nearest)}


def values(packed, state, dtype):
    # As one row: the CPU kernel takes a wrong scale where a row ends inside a block.
    state.shape = torch.Size((1, state.shape.numel()))
    state.dtype = torch.float32
    exact = F.dequantize_4bit(packed, state)
    if dtype == "float32":
        return exact
    state.dtype = DTYPES[dtype]
    rounded, own = exact.to(DTYPES[dtype]), F.dequantize_4bit(packed, state)
    differ = rounded.view(torch.int16) != own.view(torch.int16)
    assert dtype == "bfloat16" and (exact.abs()[differ] < SMALLEST_NORMAL).all() or not differ.any(), dtype
    return rounded


def case(kind, shape, dtype, block_size, double_quant):
    w = matrix(kind, *shape, dtype)
    packed, plain = F.quantize_4bit(w, blocksize=block_size, quant_type="nf4", compress_statistics=False)
    out = {"kind": kind, "rows": shape[0], "columns": shape[1], "dtype": dtype, "block_size": block_size,
           "double_quant": double_quant, "codes": fnv(packed.numpy()), "absmax": fnv(plain.absmax.numpy())}
    state = plain
    if double_quant:
        packed, state = F.quantize_4bit(w, blocksize=block_size, quant_type="nf4", compress_statistics=True)
        out |= double_quantised(plain.absmax, state)
    for name in DTYPES:
        y = values(packed, state, name)
        out["as_" + name] = fnv((y if name == "float32" else y.view(torch.int16)).numpy())
    return out


def main():
    torch.set_num_threads(1)
    cases = []
    for kind in ("random", "constant", "zero", "holes", "tiny", "denormal", "huge"):
        for dtype in DTYPES:
            cases += [case(kind, (61, 96), dtype, 64, double_quant) for double_quant in (False, True)]
    for block_size in (32, 64, 128, 256, 4096):
        cases += [case("random", (300, 160), "bfloat16", block_size, dq) for dq in (False, True)]
    cases += [case("random", (7, 33), dtype, 64, dq) for dtype in DTYPES for dq in (False, True)]
    cases += [case("thresholds", shape, "float32", 32, False) for shape in ((40, 32), (9, 33))]
    versions = {"bitsandbytes": bitsandbytes.__version__, "torch": torch.__version__}
    with open(sys.argv[1], "w") as f:
        f.write('{"versions": ' + json.dumps(versions) + ',\n"cases": [\n')
        f.write(",\n".join(json.dumps(c) for c in cases) + "\n]}\n")


if __name__ == "__main__":
    main()
