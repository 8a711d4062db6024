#!/usr/bin/env python3
"""Computes tests/golden/sampling.json: what transformers' logits processors make of logits.

    .venv/bin/python tests/golden/make_sampling_golden.py

A case is settings of GenerationConfig; the processors and their order are those that `generate`
itself builds of them. Logits are multiples of 1/8, so that JSON keeps them and some are equal.
tests/launch/run/sampling_test.cc repeats the cases.
"""

import json
import os
import random
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers

VOCABULARY = 40
CASES = [
    {"temperature": 1.0},
    {"temperature": 0.7},
    {"temperature": 1.9, "top_k": 5},
    {"temperature": 1.0, "top_k": 1},
    {"temperature": 1.0, "top_k": 400},
    {"temperature": 1.0, "top_p": 0.9},
    {"temperature": 0.5, "top_p": 0.3},
    {"temperature": 1.0, "top_p": 1e-6},
    {"temperature": 1.0, "top_p": 0.999},
    {"temperature": 0.8, "top_k": 12, "top_p": 0.8},
    {"temperature": 1.3, "repetition_penalty": 1.2},
    {"temperature": 0.9, "repetition_penalty": 0.8, "top_k": 9, "top_p": 0.95},
    {"temperature": 0, "repetition_penalty": 1.5},
]


def processed(settings, before, logits):
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
            num_attention_heads=1, num_key_value_heads=1,
        )
    )
    keys = {"top_k": 0, **settings}
    draws = keys["temperature"] > 0
    if not draws:
        keys = {"repetition_penalty": keys["repetition_penalty"]}
    config = transformers.GenerationConfig(do_sample=draws, **keys)
    ids = torch.tensor([before])
    processors = model._get_logits_processor(
        config, input_ids_seq_length=len(before), prefix_allowed_tokens_fn=None,
        logits_processor=transformers.LogitsProcessorList(), device="cpu",
        model_kwargs={}, negative_prompt_ids=None, negative_prompt_attention_mask=None,
    )
    return processors(ids, torch.tensor([logits], dtype=torch.float32))[0].tolist()


def main():
    draw = random.Random(4)
    cases = []
    for settings in CASES:
        for _ in range(4):
            logits = [draw.randrange(-48, 48) / 8 for _ in range(VOCABULARY)]
            before = [draw.randrange(VOCABULARY) for _ in range(11)]
            scores = processed(settings, before, logits)
            cases.append(
                {
                    "settings": settings,
                    "before": before,
                    "logits": logits,
                    "scores": [None if s == float("-inf") else s for s in scores],
                }
            )
    golden = {"transformers": transformers.__version__, "torch": torch.__version__, "cases": cases}
    lines = ",\n".join(json.dumps(case) for case in cases)
    text = json.dumps({**golden, "cases": []}, indent=1).replace('"cases": []', f'"cases": [\n{lines}\n]')
    Path(__file__).with_name("sampling.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
