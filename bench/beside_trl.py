#!/usr/bin/env python3
"""Does a run learn as with TRL, and how fast, on real rows and a real model?

    PYTHON bench/beside_trl.py build/release/fttrain --model=models/SmolLM2-135M-Instruct --rows=ROWS.json

PYTHON has trl and datasets beside what .venv has. ROWS.json: alpaca rows, such as alpaca_en_demo.json
of LLaMA-Factory. Both sides are given conversations and render the model's own template. What it has
after the end token, a newline, TRL learns and fttrain does not: TRL's labels are taken as it makes
them, without that newline, and how many targets it was is printed. Each step's loss and gradient norm
are compared, and tokens per second, one side after the other.

Modes: full-fp32, full-bf16, lora-bf16, qlora-bf16. Adapters begin at the same values. For qlora-bf16
both sides read the model rounded to bfloat16: transformers rounds it before bitsandbytes quantises,
fttrain quantises the file's own values, and of a float16 file half a percent of the codes differ.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from compare_peft import MPI_ENVIRONMENT, ROOT, machine

MODES = ["full-fp32", "full-bf16", "lora-bf16", "qlora-bf16"]
RATE = {"full": 2e-5, "lora": 2e-4, "qlora": 2e-4}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LORA = {"r": 16, "lora_alpha": 32, "target_modules": TARGETS}
ROWS, ACCUMULATION = 2, 2  # of a microbatch, of a step


def conversations(options):
    """[(prompt, completion)], messages, of as many rows as the steps take."""
    count = options.steps * ROWS * ACCUMULATION
    for row in json.loads(options.rows.read_text())[:count]:
        asked = row["instruction"] + ("\n" + row["input"] if row.get("input") else "")
        yield [{"role": "user", "content": asked}], [{"role": "assistant", "content": row["output"]}]


def write_inputs(options):
    with (options.folder / "rows.jsonl").open("w") as file:
        for prompt, completion in conversations(options):
            file.write(json.dumps({"messages": prompt + completion}) + "\n")


def sft_trainer(options, mode, dataset, model):
    import trl

    method, precision = mode.split("-")
    return trl.SFTTrainer(
        model,
        args=trl.SFTConfig(
            output_dir=str(options.folder / "trl"),
            use_cpu=True,
            bf16=precision == "bf16",
            max_steps=options.steps,
            per_device_train_batch_size=ROWS,
            gradient_accumulation_steps=ACCUMULATION,
            learning_rate=RATE[method],
            lr_scheduler_type="constant",
            max_grad_norm=1.0,
            weight_decay=0.0,
            logging_steps=1,
            train_sampling_strategy="sequential",
            gradient_checkpointing=False,
            max_length=None,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=dataset,
    )


def end_token(tokenizer):
    return tokenizer.convert_tokens_to_ids("<|im_end|>")


def trl_rows(options):
    """[(token ids, labels)] as TRL makes them of conversations."""
    import datasets
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(options.model)
    rows = [{"prompt": p, "completion": c} for p, c in conversations(options)]
    trainer = sft_trainer(options, "full-fp32", datasets.Dataset.from_list(rows), model)
    return [(row["input_ids"], row["labels"]) for row in trainer.train_dataset]


def without_what_follows_the_end(rows, end):
    cut = []
    for ids, labels in rows:
        last = max(i for i, token in enumerate(ids) if token == end)
        cut.append((ids, labels[: last + 1] + [-100] * (len(ids) - last - 1)))
    return cut


def trl_side(options, mode, rows):
    """Losses, gradient norms and seconds of steps; runs in a process of its own."""
    import datasets
    import peft
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    method, precision = mode.split("-")
    loading = {"dtype": torch.bfloat16 if precision == "bf16" and method != "full" else torch.float32}
    if method == "qlora":
        loading["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    model = transformers.AutoModelForCausalLM.from_pretrained(model_of(options, mode), **loading)
    if method != "full":
        model = peft.PeftModel.from_pretrained(model, options.folder / "adapter", is_trainable=True)
    columns = {"input_ids": [ids for ids, _ in rows], "labels": [labels for _, labels in rows]}
    trainer = sft_trainer(options, mode, datasets.Dataset.from_dict(columns), model)
    clock = StepClock()
    trainer.add_callback(clock.callback())
    trainer.train()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    return {
        "loss": [log["loss"] for log in logs],
        "grad_norm": [log["grad_norm"] for log in logs],
        "seconds": clock.seconds,
    }


class StepClock:
    def __init__(self):
        self.seconds, self.began = [], 0.0

    def callback(self):
        import transformers

        clock = self

        class Callback(transformers.TrainerCallback):
            def on_step_begin(self, *_, **__):
                clock.began = time.perf_counter()

            def on_step_end(self, *_, **__):
                clock.seconds.append(time.perf_counter() - clock.began)

        return Callback()


def model_of(options, mode):
    return options.folder / "rounded" if mode == "qlora-bf16" else options.model


def write_rounded(options):
    import torch
    import transformers

    rounded = model_of(options, "qlora-bf16")
    shutil.rmtree(rounded, ignore_errors=True)
    shutil.copytree(options.model, rounded, ignore=shutil.ignore_patterns("*.safetensors*"))
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.bfloat16)
    model.save_pretrained(rounded)


def write_adapter(options):
    """Factors as PEFT draws them: both sides begin there."""
    import peft
    import torch
    import transformers

    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model)
    peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **LORA)).save_pretrained(
        options.folder / "adapter"
    )


def fttrain_config(options, mode):
    method, precision = mode.split("-")
    adapter = {"method": "none"}
    if method != "full":
        adapter = {"method": method, "r": LORA["r"], "alpha": LORA["lora_alpha"], "dropout": 0.0}
        adapter |= {"target_modules": TARGETS, "init_from": str(options.folder / "adapter")}
    longest = max(len(ids) for ids, _ in options.tokens)
    return {
        "model": {"path": str(model_of(options, mode).resolve())},
        "adapter": adapter,
        "data": {
            "train": [{"path": str(options.folder / "rows.jsonl"), "format": "messages"}],
            "sequence_len": longest,
            "packing": False,
            "shuffle": False,
        },
        "train": {
            "max_steps": options.steps,
            "micro_batch_size": ROWS,
            "gradient_accumulation_steps": ACCUMULATION,
        },
        "optimizer": {"name": "adamw", "learning_rate": RATE[method], "max_grad_norm": 1.0},
        "schedule": {"name": "constant"},
        "precision": {"compute": precision},
        "device": "cpu",
        "output_dir": str(options.folder / "out"),
    }


def program(options, *arguments):
    environment = {**os.environ, **MPI_ENVIRONMENT, "OMP_NUM_THREADS": str(options.threads)}
    command = [str(options.binary.resolve()), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def fttrain_side(options, mode):
    output = options.folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    config = options.folder / "run.yaml"
    config.write_text(json.dumps(fttrain_config(options, mode)))
    program(options, "train", f"--config={config}")
    lines = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    steps = [line for line in lines if "grad_norm" in line]
    return {key: [step[key] for step in steps] for key in ("loss", "grad_norm", "seconds", "tokens")}


def differences(ours, theirs):
    return [abs(a - b) / b for a, b in zip(ours, theirs, strict=True)]


def compare(options, mode):
    """Both sides, TRL's in a process of its own so that threads and memory are its alone."""
    ours = fttrain_side(options, mode)
    command = [sys.executable, *sys.argv, "--trl-side", mode]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    speed = [
        statistics.median(n / s for n, s in zip(ours["tokens"], side["seconds"], strict=True))
        for side in (ours, theirs)
    ]
    losses = differences(ours["loss"], theirs["loss"])
    return {
        "largest loss difference": max(losses),
        "mean loss difference": statistics.mean(losses),
        "largest grad norm difference": max(differences(ours["grad_norm"], theirs["grad_norm"])),
        "tokens/s": speed[0],
        "tokens/s of TRL": speed[1],
        "speed ratio": speed[0] / speed[1],
        "losses": list(zip(ours["loss"], theirs["loss"], strict=True)),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--modes", nargs="*", default=MODES)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "build/bench/beside_trl")
    parser.add_argument("--trl-side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / "trl_rows.json"
    if options.trl_side:
        print(json.dumps(trl_side(options, options.trl_side, json.loads(kept.read_text()))))
        return
    import transformers

    write_inputs(options)
    write_adapter(options)
    write_rounded(options)
    rows = trl_rows(options)
    end = end_token(transformers.AutoTokenizer.from_pretrained(options.model))
    options.tokens = without_what_follows_the_end(rows, end)
    kept.write_text(json.dumps(options.tokens))
    targets, fewer = (sum(x != -100 for _, labels in r for x in labels) for r in (rows, options.tokens))
    print(f"{len(rows)} rows, {fewer} targets; TRL has {targets - fewer} more, after end tokens")
    print(f"machine: {machine()}")
    for mode in options.modes:
        result = compare(options, mode)
        (options.folder / f"{mode}.json").write_text(json.dumps(result, indent=1))
        print(mode, {k: float(f"{v:.4g}") for k, v in result.items() if k != "losses"}, flush=True)


if __name__ == "__main__":
    main()
