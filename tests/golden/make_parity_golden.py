#!/usr/bin/env python3
"""Computes tests/golden/parity.json: what transformers, PEFT and bitsandbytes make of the cases of
tiny_models.py.

    .venv/bin/python tests/golden/make_parity_golden.py [--only CASE ...]

float32 on one CPU thread, eager attention, each row on its own (no padding); full fine-tuning in
float64, for its gradient norms amplify rounding: gemma2's are 2e-5 off in float32, which is all that
a test allows. Run it only when a case changes; the versions it ran with are recorded. The semantics
the numbers rest on:
  loss        sum of the token losses of a step's four rows / number of their targets (labels
              shifted by one)
  grad_norm   of that loss, over all trained tensors, before clipping
  clip        gradients times min(1, max_norm / (norm + 1e-6))
  schedule    transformers' cosine with warm-up: step i counts from 0, so the first step has
              learning rate 0
  decay       LoRA: on A and B; full: on every matrix, on no bias and no norm weight
  router      of families whose routers have a loss: LoRA and full again, a step's four rows in one
              forward (padded, with a mask), its aux_loss times ROUTER_LOSS added to the loss
  qlora       NF4 with blocks of 64 and double quantisation, as bitsandbytes' format says and its
              CUDA kernels compute it (nearest_nf4.py)
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"

import bitsandbytes
import peft
import torch
import transformers

import nearest_nf4
import tiny_models

RECIPE = {
    "learning_rate": 2e-3,
    "warmup_steps": 2,
    "max_grad_norm": 1.0,
    "beta1": 0.9,
    "beta2": 0.98,
    "eps": 1e-8,
    "weight_decay_lora": 0.02,
    "weight_decay_full": 0.1,
}
# transformers' router_aux_loss_coef, large enough that it matters, and who has it.
ROUTER_LOSS, ROUTER_FAMILIES = 1.0, ["mixtral", "qwen3_moe", "gpt_oss"]
# Rows whose logits are recorded, at these positions (-1: the last) and vocabulary ids.
LOGIT_ROWS, LOGIT_POSITIONS, LOGIT_IDS = [0, 1], [0, 3, 9, 11, -1], [0, 1, 100, 255, 256, 500]


def implementations(case_folder):
    """Plain loops: what transformers compiles for experts takes minutes here."""
    config = json.loads((case_folder / "model/config.json").read_text())
    experts = config["model_type"] in [*tiny_models.EXPERT_NAMES, "gpt_oss"]
    return {"attn_implementation": "eager"} | (
        {"experts_implementation": "eager"} if experts else {}
    )


def load(case_folder):
    return transformers.AutoModelForCausalLM.from_pretrained(
        case_folder / "model", dtype=torch.float32, **implementations(case_folder)
    )


def expert_matrices(model):
    """(name in files, matrix [out, in]) of every expert, which transformers holds by layers."""
    family = getattr(model.config, "model_type", None)
    if family == "gpt_oss":
        yield from stacked_matrices(model)
    if family not in tiny_models.EXPERT_NAMES:
        return
    block, gate, up, down = tiny_models.EXPERT_NAMES[family]
    for name, parameter in model.named_parameters():
        layer = name.rpartition(".mlp.experts.")[0]
        for expert in range(len(parameter)) if layer else []:
            prefix = f"{layer}.{block}.experts.{expert}."
            matrix = parameter.data[expert]
            if name.endswith("gate_up_proj"):
                half = len(matrix) // 2
                yield f"{prefix}{gate}.weight", matrix[:half]
                yield f"{prefix}{up}.weight", matrix[half:]
            else:
                yield f"{prefix}{down}.weight", matrix


def stacked_matrices(model):
    """The same of gpt_oss, which has them transposed, gate and up in turn, in files too."""
    for name, parameter in model.named_parameters():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            continue
        for expert, matrix in enumerate(parameter.data):
            step = 2 if name.endswith("gate_up_proj") else 1
            for first in range(step):
                yield f"{name}.{expert}.{first}", matrix[:, first::step].T


def load_quantized(case_folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        case_folder / "model",
        dtype=torch.float32,
        **implementations(case_folder),
        quantization_config=transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        ),
    )
    plain = dict(load(case_folder).named_parameters())
    for name, module in model.named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            nearest_nf4.nearest_absmax(module.weight, plain[f"{name}.weight"].detach())
    for _, matrix in expert_matrices(model):
        matrix.copy_(nearest_nf4.values(matrix.contiguous()))
    return nearest_nf4.plain_products(model)


def row_logits(model, row):
    return model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0]


def row_loss_sum(model, row):
    logits, labels = row_logits(model, row)[:-1], torch.tensor(row["labels"][1:])
    return torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")


def token_losses(model, batch):
    """Sum of the token losses, and no loss of routers."""
    return sum(row_loss_sum(model, row) for row in batch), None


def losses_with_routers(model, batch):
    """The same in one forward, and the routers' loss of it."""
    longest = max(len(row["input_ids"]) for row in batch)

    def padded(key, value):
        return torch.tensor([row[key] + [value] * (longest - len(row[key])) for row in batch])

    mask = torch.tensor([[i < len(row["input_ids"]) for i in range(longest)] for row in batch])
    out = model(
        input_ids=padded("input_ids", 0),
        attention_mask=mask.long(),
        use_cache=False,
        output_router_logits=True,
    )
    logits, labels = out.logits[:, :-1].flatten(0, 1), padded("labels", -100)[:, 1:].flatten()
    loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
    return loss, out.aux_loss


def decay_groups(named, full):
    if not full:
        return [{"params": [p for _, p in named], "weight_decay": RECIPE["weight_decay_lora"]}]
    plain = [p for name, p in named if name.endswith("bias") or "norm" in name.split(".")[-2]]
    matrices = [p for name, p in named if not any(p is q for q in plain)]
    return [
        {"params": matrices, "weight_decay": RECIPE["weight_decay_full"]},
        {"params": plain, "weight_decay": 0.0},
    ]


def train(model, rows, steps, full, losses=token_losses):
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        decay_groups(named, full),
        lr=RECIPE["learning_rate"],
        betas=(RECIPE["beta1"], RECIPE["beta2"]),
        eps=RECIPE["eps"],
    )
    schedule = transformers.get_cosine_schedule_with_warmup(
        optimizer, RECIPE["warmup_steps"], steps
    )
    curve = {"loss": [], "grad_norm": [], "learning_rate": [], "target_tokens": []}
    for step in range(steps):
        batch = rows[step * tiny_models.ROWS_PER_STEP : (step + 1) * tiny_models.ROWS_PER_STEP]
        targets = sum(label != -100 for row in batch for label in row["labels"][1:])
        loss, of_routers = losses(model, batch)
        loss = loss / targets
        (loss if of_routers is None else loss + ROUTER_LOSS * of_routers).backward()
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in named], RECIPE["max_grad_norm"])
        for key, value in [
            ("loss", loss.item()),
            ("grad_norm", norm.item()),
            ("learning_rate", optimizer.param_groups[0]["lr"]),
            ("target_tokens", targets),
        ]:
            curve[key].append(value)
        if of_routers is not None:
            curve.setdefault("router_loss", []).append(of_routers.item())
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return curve


def final_norms(model, marker=""):
    split = model.config.model_type in tiny_models.EXPERT_NAMES
    norms = {
        name.replace(".default.", "."): p.detach().double().norm().item()
        for name, p in model.named_parameters()
        if marker in name and not (split and ".mlp.experts." in name)
    }
    if marker == "" and split:
        block = tiny_models.EXPERT_NAMES[model.config.model_type][0]
        norms = {name.replace(".mlp.gate.", f".{block}.gate."): n for name, n in norms.items()}
        norms |= {name: matrix.double().norm().item() for name, matrix in expert_matrices(model)}
        # What routers choose by is no parameter; files have it.
        norms |= {
            name: buffer.double().norm().item()
            for name, buffer in model.named_buffers()
            if name.endswith("e_score_correction_bias")
        }
    return norms


@torch.no_grad()
def some_logits(model, rows):
    return [row_logits(model, rows[r])[LOGIT_POSITIONS][:, LOGIT_IDS].tolist() for r in LOGIT_ROWS]


def train_with_routers(folder, rows):
    """Curves of both methods with the routers' loss."""
    result = {"coefficient": ROUTER_LOSS}
    model = peft.PeftModel.from_pretrained(load(folder), folder / "adapter_init", is_trainable=True)
    result["lora"] = train(model, rows, tiny_models.STEPS_LORA, False, losses_with_routers)
    result["lora"]["final_norms"] = final_norms(model, "lora_")
    model = load(folder).double()
    result["full"] = train(model, rows, tiny_models.STEPS_FULL, True, losses_with_routers)
    result["full"]["final_norms"] = final_norms(model)
    return result


def run_case(case, folder):
    digest = tiny_models.write_case(case, folder)
    rows = tiny_models.token_rows(case)
    result = {"digest": digest, "logits": some_logits(load(folder), rows)}

    model = peft.PeftModel.from_pretrained(load(folder), folder / "adapter_init", is_trainable=True)
    result["adapter_logits"] = some_logits(model, rows)
    result["lora"] = train(model, rows, tiny_models.STEPS_LORA, full=False)
    result["lora"]["final_norms"] = final_norms(model, "lora_")

    model = load_quantized(folder)
    result["qlora_logits"] = some_logits(model, rows)
    model = peft.PeftModel.from_pretrained(model, folder / "adapter_init", is_trainable=True)
    result["qlora"] = train(model, rows, tiny_models.STEPS_LORA, full=False)
    result["qlora"]["final_norms"] = final_norms(model, "lora_")

    model = load(folder).double()
    result["full"] = train(model, rows, tiny_models.STEPS_FULL, full=True)
    result["full"]["final_norms"] = final_norms(model)
    if model.config.model_type in ROUTER_FAMILIES:
        result["router"] = train_with_routers(folder, rows)
    return result


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("parity.json"))
    parser.add_argument(
        "--only", nargs="*", help="cases to compute; the file's others stay as they are"
    )
    arguments = parser.parse_args()
    output = arguments.output
    kept = json.loads(output.read_text())["cases"] if arguments.only else {}
    torch.set_num_threads(1)
    golden = {
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, peft, bitsandbytes)},
        "recipe": RECIPE,
        "logit_rows": LOGIT_ROWS,
        "logit_positions": LOGIT_POSITIONS,
        "logit_ids": LOGIT_IDS,
        "cases": {},
    }
    for case in tiny_models.CASES:
        if arguments.only and case not in arguments.only:
            golden["cases"][case] = kept[case]
            continue
        with tempfile.TemporaryDirectory() as folder:
            golden["cases"][case] = result = run_case(case, Path(folder))
        print(
            f"{case:14} lora {result['lora']['loss'][0]:.4f} -> {result['lora']['loss'][-1]:.4f} "
            f"grad norm "
            f"{min(result['lora']['grad_norm']):.2f}..{max(result['lora']['grad_norm']):.2f}, "
            f"qlora {result['qlora']['loss'][0]:.4f} -> {result['qlora']['loss'][-1]:.4f}, "
            f"full -> {result['full']['loss'][-1]:.4f} {max(result['full']['grad_norm']):.2f}"
        )
    output.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
