#!/usr/bin/env python3
"""adapter_modules_test.py BINARY: adapters on some modules of some layers, each with its own rank and
scale, mean there and here the same: one saved by PEFT starts a run on two ranks, its result loads in
PEFT, is merged, and the merged model takes a fresh adapter of the same settings."""

import sys
from pathlib import Path

from packages import peft, torch, transformers
import harness
import tiny_models

SAME_LOGITS = 1e-5  # of the largest
LAYERS, VOCAB = 4, 96

# LoraConfig's arguments, and how two ranks share the run.
CASES = {
    "ends of names": (
        {"r": 4, "lora_alpha": 8, "target_modules": ["self_attn.q_proj", "self_attn.v_proj"]},
        {"tensor": 2},
    ),
    "a regular expression for some layers": (
        {"r": 4, "lora_alpha": 8, "target_modules": r".*layers\.[02]\.self_attn\.[qv]_proj"},
        {"pipeline": 2},
    ),
    "no adapter on the second stage": (
        {"r": 3, "lora_alpha": 4, "target_modules": r"model\.layers\.0\.mlp\.(up|down)_proj"},
        {"pipeline": 2},
    ),
    "layers, ranks and scales of their own": (
        {
            "r": 4,
            "lora_alpha": 6,
            "use_rslora": True,
            "target_modules": ["q_proj", "mlp.up_proj", "model.layers.3.mlp.down_proj"],
            "layers_to_transform": [0, 1],
            "layers_pattern": "layers",
            "rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\..*": 7},
            "alpha_pattern": {"^model.layers.0.self_attn.q_proj": 3, "down_proj": 11},
        },
        {"zero_stage": 3},
    ),
    "all linears but some": (
        {
            "r": 2,
            "target_modules": "all-linear",
            "exclude_modules": ["o_proj", "layers.0.mlp.down_proj"],
        },
        {"tensor": 2},
    ),
    "one layer without some": (
        {
            "r": 2,
            "target_modules": ["k_proj", "gate_proj"],
            "layers_to_transform": 3,
            "exclude_modules": r".*\.mlp\..*",
        },
        {"zero_stage": 2},
    ),
}
OUR_KEYS = {"lora_alpha": "alpha"}


def write_model(folder):
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
    )
    transformers.LlamaForCausalLM(config).float().save_pretrained(folder)


def base_model(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )


def adapted(model):
    """What each adapted module has."""
    return {
        name: (module.r["default"], module.scaling["default"])
        for name, module in model.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }


@torch.no_grad()
def there(model, rows):
    return [
        model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0].numpy()
        for row in rows
    ]


def expect_same(what, got, want):
    error = max(float(abs(a - b).max() / abs(b).max()) for a, b in zip(got, want))
    if not error <= SAME_LOGITS:
        raise harness.Failure(f"{what}: logits differ by {error:.1e}, {SAME_LOGITS:.0e} allowed")


def save_by_peft(folder, settings, output):
    torch.manual_seed(3)
    model = peft.get_peft_model(
        base_model(folder / "model"), peft.LoraConfig(task_type="CAUSAL_LM", **settings)
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data, std=0.1)
    model.save_pretrained(output)
    return model


def mean_loss(logits, rows):
    total, targets = 0.0, 0
    for values, row in zip(logits, rows):
        labels = torch.tensor(row["labels"][1:])
        total += torch.nn.functional.cross_entropy(
            torch.from_numpy(values)[:-1], labels, ignore_index=-100, reduction="sum"
        ).item()
        targets += int((labels != -100).sum())
    return total / targets


def run_config(folder, model, adapter, parallel, output, steps):
    return {
        "model": {"path": str(model)},
        "adapter": {"method": "lora", **adapter},
        "data": {
            "train": [{"path": str(folder / "rows.jsonl"), "format": "tokens"}],
            "sequence_len": 48,
            "packing": False,
            "shuffle": False,
        },
        "train": {
            "max_steps": steps,
            "micro_batch_size": 1,
            "gradient_accumulation_steps": 4 if {"tensor", "pipeline"} & set(parallel) else 2,
        },
        "optimizer": {"learning_rate": 1e-2},
        "parallel": parallel,
        "precision": {"compute": "fp32"},
        "device": "cpu",
        "output_dir": str(output),
    }


def expect_modules(what, model, want):
    if adapted(model) == want:
        return
    differing = sorted(set(adapted(model).items()) ^ set(want.items()))
    raise harness.Failure(f"{what}: other modules, ranks or scales: {differing[:4]}")


def both_ways(binary, folder, settings, parallel, rows):
    model = save_by_peft(folder, settings, folder / "saved")
    want = adapted(model)
    config = run_config(
        folder,
        folder / "model",
        {"init_from": str(folder / "saved")},
        parallel,
        folder / "out",
        steps=3,
    )
    loss = harness.train(binary, folder, 2, config)[0]["loss"]
    expected = mean_loss(there(model, rows[:4]), rows[:4])
    if not abs(loss - expected) <= 1e-5:
        raise harness.Failure(f"first loss is {loss:.7f} here, {expected:.7f} there")

    adapter = folder / "out" / "adapter"
    loaded = peft.PeftModel.from_pretrained(base_model(folder / "model"), adapter)
    expect_modules("what was trained", loaded, want)
    trained = there(loaded, rows)
    if not max(float(abs(a - b).max()) for a, b in zip(trained, there(model, rows))) > 1e-3:
        raise harness.Failure("three steps moved no logit")
    here = harness.logits(binary, folder, rows, adapter, model=folder / "model")
    expect_same("what was trained", here, trained)

    merged = folder / "merged"
    harness.run_or_fail(
        binary,
        1,
        ["merge", f"--model={folder / 'model'}", f"--adapter={adapter}", f"--output={merged}"],
    )
    expect_same("merged", there(base_model(merged), rows), trained)

    keys = {OUR_KEYS.get(key, key.removeprefix("lora_")): value for key, value in settings.items()}
    keys.setdefault("alpha", 8)
    fresh = run_config(folder, merged, keys, parallel, folder / "fresh", steps=1)
    harness.train(binary, folder, 2, fresh)
    loaded = peft.PeftModel.from_pretrained(base_model(merged), folder / "fresh" / "adapter")
    expect_modules("a fresh adapter of the same settings", loaded, want)
    here = harness.logits(binary, folder, rows, folder / "fresh" / "adapter", model=merged)
    expect_same("a fresh adapter", here, there(loaded, rows))
    return f"{len(want)} modules, first loss {loss:.4f}"


def main():
    binary = Path(sys.argv[1])
    torch.set_num_threads(1)
    rows = [
        {"input_ids": [id % VOCAB for id in row["input_ids"]], "labels": row["labels"]}
        for row in tiny_models.token_rows("llama_grouped")[:16]
    ]
    for row in rows:
        row["labels"] = [label if label < 0 else label % VOCAB for label in row["labels"]]
    checks = []
    with harness.scratch_folder() as scratch:
        for number, (name, (settings, parallel)) in enumerate(CASES.items()):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            write_model(folder / "model")
            tiny_models.write_rows(folder / "rows.jsonl", rows)

            def check(folder=folder, settings=settings, parallel=parallel):
                return both_ways(binary, folder, settings, parallel, rows)

            checks.append((name, check))
        harness.run_checks(checks)


if __name__ == "__main__":
    main()
