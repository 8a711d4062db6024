#!/usr/bin/env python3
"""Computes tests/golden/rope.json: the rotary frequencies, and the factor of cos and sin, that
transformers makes of config.json's keys.

    .venv/bin/python tests/golden/make_rope_golden.py

float32, as transformers computes them. A case is the keys that it adds to BASE;
tests/model/config/rope_test.cc reads the same config and compares.
"""

import json
import os
import tempfile
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"

import transformers
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

BASE = {
    "model_type": "llama",
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 300,
    "max_position_embeddings": 1024,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}
LLAMA3 = {"rope_type": "llama3", "factor": 6.0, "low_freq_factor": 1.0, "high_freq_factor": 3.5}

CASES = {
    "no key": {},
    "theta outside": {"rope_theta": 70000.0},
    "theta outside rope_parameters": {
        "rope_theta": 5000,
        "rope_parameters": {"rope_type": "default"},
    },
    "theta in both places": {
        "rope_theta": 5000.0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 800.0},
    },
    "an empty rope_scaling": {
        "rope_scaling": {},
        "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 800.0},
    },
    "linear by type alone": {
        "rope_theta": 20000.0,
        "rope_scaling": {"type": "linear", "factor": 2.5},
    },
    "two words for the type": {
        "rope_scaling": {"type": "linear", "rope_type": "default", "factor": 2.5}
    },
    "dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "llama3": {"rope_scaling": {**LLAMA3, "original_max_position_embeddings": 300}},
    "llama3 without its context": {"rope_theta": 500000.0, "rope_scaling": LLAMA3},
    "llama3 with its context outside": {
        "original_max_position_embeddings": 128,
        "rope_scaling": {**LLAMA3, "original_max_position_embeddings": 300},
    },
    "yarn": {"rope_theta": 1000000.0, "rope_scaling": YARN},
    "yarn by type alone": {"rope_scaling": {"type": "yarn", "factor": 2.0}},
    "yarn in rope_parameters": {"rope_parameters": {**YARN, "rope_theta": 30000.0, "factor": 16}},
    "yarn with a null factor": {"rope_scaling": {**YARN, "factor": None}},
    "yarn with its context outside": {
        "original_max_position_embeddings": 128,
        "rope_scaling": YARN,
    },
    "yarn with betas": {"rope_scaling": {**YARN, "beta_fast": 20, "beta_slow": 2.5}},
    "yarn with betas of null and 0": {"rope_scaling": {**YARN, "beta_fast": None, "beta_slow": 0}},
    "yarn without truncation": {"rope_scaling": {**YARN, "truncate": False}},
    "yarn with a null truncation": {"rope_scaling": {**YARN, "truncate": None}},
    "yarn with an attention factor": {"rope_scaling": {**YARN, "attention_factor": 1.25}},
    "yarn with mscales": {
        "rope_scaling": {**YARN, "factor": 40, "mscale": 1.0, "mscale_all_dim": 0.5},
    },
    "yarn with one mscale": {"rope_scaling": {**YARN, "mscale": 0.7, "mscale_all_dim": 0}},
    "yarn with a name nobody reads": {"rope_scaling": {**YARN, "attn_factor": 3.0}},
    "yarn of a factor below 1": {"rope_scaling": {**YARN, "factor": 0.5}},
    "yarn of a short context": {"rope_scaling": {**YARN, "original_max_position_embeddings": 5}},
    "yarn of a long context and a small theta": {
        "rope_theta": 2.0,
        "rope_scaling": {**YARN, "original_max_position_embeddings": 1000},
    },
    "yarn of wide heads": {
        "head_dim": 64,
        "rope_theta": 150000,
        "rope_scaling": {**YARN, "factor": 32.0},
    },
}


def main():
    golden = {"transformers": transformers.__version__, "base": BASE, "cases": []}
    for name, keys in CASES.items():
        config = {**BASE, **keys}
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "config.json").write_text(json.dumps(config))
            rope = LlamaRotaryEmbedding(transformers.AutoConfig.from_pretrained(folder))
        golden["cases"].append(
            {
                "name": name,
                "keys": keys,
                "frequencies": rope.inv_freq.tolist(),
                "attention_factor": rope.attention_scaling,
            }
        )
    lines = ",\n".join("  " + json.dumps(case) for case in golden.pop("cases"))
    head = json.dumps(golden)[:-1]
    Path(__file__).with_name("rope.json").write_text(f'{head}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
