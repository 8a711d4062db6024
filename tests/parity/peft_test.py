#!/usr/bin/env python3
"""peft_test.py BINARY: adapters go both ways between fttrain and Python PEFT with equal logits and
losses."""

import sys
from pathlib import Path

from packages import peft, torch, transformers
import harness
import tiny_models

SAME_LOGITS = 1e-5
CASE = "llama_grouped"


def base_model(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder / "model", dtype=torch.float32, attn_implementation="eager"
    )


@torch.no_grad()
def python_logits(model, row):
    return model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0].numpy()


def same_logits(binary, folder, adapter, rows):
    model = peft.PeftModel.from_pretrained(base_model(folder), adapter)
    got = harness.logits(binary, folder, rows, adapter)
    error = max(float(abs(g - python_logits(model, row)).max()) for g, row in zip(got, rows))
    if not error <= SAME_LOGITS:
        raise harness.Failure(f"logits differ by {error:.1e}, {SAME_LOGITS:.0e} allowed")
    return f"logits within {error:.1e}"


def written_adapter_loads(binary, folder, golden, rows):
    """Trained here on two ranks, loaded there: the same logits, and not the untrained ones."""
    config = harness.run_config(folder, golden, "lora", 12, parallel={"tensor": 2})
    harness.train(binary, folder, 2, config)
    adapter = folder / "out" / "adapter"
    start = harness.logits(binary, folder, rows, folder / "adapter_init")
    trained = harness.logits(binary, folder, rows, adapter)
    moved = max(float(abs(a - b).max()) for a, b in zip(start, trained))
    if not moved > 1e-2:
        raise harness.Failure(f"12 steps moved no logit by more than {moved:.1e}")
    return same_logits(binary, folder, adapter, rows)


def peft_adapter_starts_a_run(binary, folder, golden, rows):
    """Saved there with its own names, rank and scale; the first loss here is the loss there."""
    torch.manual_seed(3)
    config = peft.LoraConfig(
        r=6, lora_alpha=9, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"
    )
    model = peft.get_peft_model(base_model(folder), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data, std=0.1)
    adapter = folder / "peft_adapter"
    model.save_pretrained(adapter)
    batch = tiny_models.token_rows(CASE)[:4]
    total, targets = 0.0, 0
    for row in batch:
        labels = torch.tensor(row["labels"][1:])
        values = torch.from_numpy(python_logits(model, row))[:-1]
        total += torch.nn.functional.cross_entropy(
            values, labels, ignore_index=-100, reduction="sum"
        ).item()
        targets += int((labels != -100).sum())
    config = harness.run_config(
        folder,
        golden,
        "lora",
        2,
        parallel={"tensor": 2},
        adapter=None,
        output_dir=str(folder / "from_peft"),
    )
    config["adapter"] = harness.adapter_config(adapter)
    loss = harness.train(binary, folder, 2, config)[0]["loss"]
    if not abs(loss - total / targets) <= 1e-5:
        raise harness.Failure(f"first loss is {loss:.7f} here, {total / targets:.7f} there")
    return f"first loss within {abs(loss - total / targets):.1e}; " + same_logits(
        binary, folder, adapter, rows
    )


def main():
    binary = Path(sys.argv[1])
    torch.set_num_threads(1)
    golden = harness.load_golden()
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        tiny_models.write_case(CASE, folder)
        rows = tiny_models.token_rows(CASE)[:3]
        harness.run_checks(
            [
                (
                    "an adapter trained here loads in PEFT",
                    lambda: written_adapter_loads(binary, folder, golden, rows),
                ),
                (
                    "an adapter saved by PEFT starts a run here",
                    lambda: peft_adapter_starts_a_run(binary, folder, golden, rows),
                ),
            ]
        )


if __name__ == "__main__":
    main()
