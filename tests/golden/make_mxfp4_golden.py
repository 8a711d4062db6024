#!/usr/bin/env python3
"""Computes tests/golden/mxfp4.json: what transformers makes of a stack of matrices in MXFP4.

    .venv/bin/python tests/golden/make_mxfp4_golden.py

Every code with every scale that leaves it finite is there. Bytes and bfloat16 patterns in hex, row-major.
"""

import json
import os
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import numpy as np
import torch
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

EXPERTS, COLUMNS, BLOCKS = 2, 66, 2


def main():
    random = np.random.RandomState(7)
    codes = random.randint(0, 256, (EXPERTS, COLUMNS, BLOCKS, 16)).astype(np.uint8)
    scales = np.arange(EXPERTS * COLUMNS * BLOCKS).astype(np.uint8) % 253  # 6 * 2^125 is finite
    scales = random.permutation(scales).reshape(EXPERTS, COLUMNS, BLOCKS)
    values = convert_moe_packed_tensors(torch.from_numpy(codes), torch.from_numpy(scales))
    assert values.shape == (EXPERTS, BLOCKS * 32, COLUMNS) and values.isfinite().all()
    golden = {
        "blocks": codes.tobytes().hex(),
        "scales": scales.tobytes().hex(),
        "shape": list(values.shape),
        "values": values.view(torch.int16).numpy().tobytes().hex(),
    }
    path = Path(__file__).with_name("mxfp4.json")
    path.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
