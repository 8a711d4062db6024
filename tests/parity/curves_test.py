#!/usr/bin/env python3
"""curves_test.py BINARY CASE: fttrain's logits and training curves equal those of transformers,
PEFT and bitsandbytes, on every layout.

The expected numbers are tests/golden/parity.json; the case's files are written anew from their
seeds. Tolerances are far above float32's own noise (1e-6 in loss, 3e-7 in grad norm between two
attention kernels) and far below what a wrong scale, a missing reduction or a decay on the wrong
tensor does.
"""

import argparse
import itertools
import json
import shutil
import sys
from functools import partial
from pathlib import Path

import harness
import tiny_models

LOSS, GRAD_NORM, FINAL_NORM, LEARNING_RATE, LOGIT = 1e-5, 2e-5, 2e-5, 1e-9, 1e-4

# name -> (ranks, micro_batch_size, gradient_accumulation_steps, what differs from the plain run)
LAYOUTS = {
    "np1": (1, 2, 2, {}),
    "tp2": (2, 2, 2, {"parallel": {"tensor": 2, "sequence_parallel": False}}),
    "tp2-sp": (2, 2, 2, {"parallel": {"tensor": 2, "sequence_parallel": True}}),
    "dp2": (2, 1, 2, {}),
    "pp2": (2, 1, 4, {"parallel": {"pipeline": 2}}),
    "tp2-dp2": (4, 2, 1, {"parallel": {"tensor": 2, "sequence_parallel": True}}),
}
# What the layout matrix (tests/launch/run/layout_matrix.h) does not train: sizes it does not have, and
# results gathered from shards into files. One family stands for all.
MORE_LAYOUTS = {
    "llama_grouped": {
        # Two kv heads on four ranks.
        "tp4-sp": (4, 1, 4, {"parallel": {"tensor": 4, "sequence_parallel": True}}),
        "pp3": (3, 1, 4, {"parallel": {"pipeline": 3}}),
        "pp2-dp2-zero3": (4, 1, 2, {"parallel": {"pipeline": 2, "zero_stage": 3}}),
    },
    "llama_tied": {
        # 1003 = 4 * 251 - 1.
        "tp4": (4, 4, 1, {"parallel": {"tensor": 4, "sequence_parallel": False}}),
        "tp2-dp2-zero3": (4, 2, 1, {"parallel": {"tensor": 2, "zero_stage": 3}}),
    },
}
# Of mixtures of experts.
EXPERT_LAYOUTS = {
    "dp2-ep2": (2, 1, 2, {"parallel": {"expert": 2}}),
    "tp2-dp2-ep2": (4, 2, 1, {"parallel": {"tensor": 2, "sequence_parallel": True, "expert": 2}}),
}
# With the routers' loss a step is one microbatch, as there.
ROUTER_LAYOUTS = {
    "np1": (1, 4, 1, {}),
    "tp2": (2, 4, 1, {"parallel": {"tensor": 2, "sequence_parallel": False}}),
    "tp2-sp": (2, 4, 1, {"parallel": {"tensor": 2, "sequence_parallel": True}}),
    "pp2": (2, 4, 1, {"parallel": {"pipeline": 2}}),
}
# With frozen weights.
ADAPTER_LAYOUTS = {
    "llama_grouped": {
        "disk": (1, 2, 2, {"memory": {"base_weights": "disk"}}),
        "dp2-zero3-host": (
            2,
            1,
            2,
            {"memory": {"base_weights": "host"}, "parallel": {"zero_stage": 3}},
        ),
    },
}


def worst(what, got, want, tolerance, relative):
    """'what 1.2e-07', or Failure with the step and both numbers."""
    if len(got) != len(want):
        raise harness.Failure(f"{what}: {len(got)} values, {len(want)} expected")
    errors = [abs(g - w) / (abs(w) if relative and w else 1.0) for g, w in zip(got, want)]
    index = max(
        range(len(errors)), key=lambda i: errors[i] if errors[i] == errors[i] else float("inf")
    )
    if not errors[index] <= tolerance:  # a NaN fails
        raise harness.Failure(
            f"{what} of step {index + 1} is {got[index]:.9g}, not {want[index]:.9g} "
            f"(off by {errors[index]:.1e}, {tolerance:.0e} allowed)"
        )
    return f"{what} {errors[index]:.1e}"


def compare_norms(tensors, want):
    """Norm of every tensor by name, without the k biases of full runs.

    A bias on the keys hardly moves a softmax, so its gradient is rounding, which Adam then scales
    up to a full step.
    """
    got = {name: float((values.astype("f8") ** 2).sum() ** 0.5) for name, values in tensors.items()}
    if got.keys() != want.keys():
        raise harness.Failure(f"tensors differ in name: {sorted(got.keys() ^ want.keys())[:4]}")
    names = [name for name in want if not name.endswith("k_proj.bias")]
    error, name = max((abs(got[name] - want[name]) / want[name], name) for name in names)
    if not error <= FINAL_NORM:
        raise harness.Failure(
            f"final norm of {name} is {got[name]:.9g}, not {want[name]:.9g} (off by {error:.1e})"
        )
    return f"final norms {error:.1e}"


def final_tensors(output, method):
    folder = output / ("model" if method == "full" else "adapter")
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors.update(tiny_models.read_safetensors(file))
    return tensors


def ask_config_json(folder, coefficient):
    """The model's config.json asks for the routers' loss."""
    path = folder / "model/config.json"
    asks = {"output_router_logits": True, "router_aux_loss_coef": coefficient}
    path.write_text(json.dumps({**json.loads(path.read_text()), **asks}))


def router_check(binary, folder, golden, case, method, layout, device):
    """The same with the routers' loss: the key asks for it, of full runs config.json."""
    router = golden["cases"][case]["router"]
    ranks, micro_batch, accumulation, sections = layout
    plain = (folder / "model/config.json").read_text()
    if method == "full":
        ask_config_json(folder, router["coefficient"])
    else:
        sections = {**sections, "train": {"router_aux_loss_coef": router["coefficient"]}}
    try:
        layout = (ranks, micro_batch, accumulation, sections)
        return curve_check(binary, folder, golden, case, method, layout, device, router[method])
    finally:
        (folder / "model/config.json").write_text(plain)


def curve_check(binary, folder, golden, case, method, layout, device, want=None):
    ranks, micro_batch, accumulation, sections = layout
    want = want or golden["cases"][case][method]
    steps = tiny_models.STEPS_FULL if method == "full" else tiny_models.STEPS_LORA
    config = harness.run_config(folder, golden, method, steps, **sections, device=device)
    config["train"].update(micro_batch_size=micro_batch, gradient_accumulation_steps=accumulation)
    output = Path(config["output_dir"])
    shutil.rmtree(output, ignore_errors=True)
    rows = harness.train(binary, folder, ranks, config)
    if [row["target_tokens"] for row in rows] != want["target_tokens"]:
        raise harness.Failure(
            f"target_tokens {[row['target_tokens'] for row in rows]}, not {want['target_tokens']}"
        )
    if ("router_loss" in rows[0]) != ("router_loss" in want):
        raise harness.Failure(f"router_loss should {'' if 'router_loss' in want else 'not '}be told")
    said = [
        worst("loss", [row["loss"] for row in rows], want["loss"], LOSS, relative=False),
        worst(
            "grad_norm",
            [row["grad_norm"] for row in rows],
            want["grad_norm"],
            GRAD_NORM,
            relative=True,
        ),
    ]
    if "router_loss" in want:
        got = [row["router_loss"] for row in rows]
        said.append(worst("router_loss", got, want["router_loss"], LOSS, relative=False))
    worst(
        "learning_rate",
        [row["learning_rate"] for row in rows],
        want["learning_rate"],
        LEARNING_RATE,
        relative=False,
    )
    said.append(compare_norms(final_tensors(output, method), want["final_norms"]))
    return ", ".join(said)


def logits_check(binary, folder, golden, case, key, device, **options):
    want = golden["cases"][case][key]
    rows = tiny_models.token_rows(case)
    chosen = [rows[r] for r in golden["logit_rows"]]
    got = harness.logits(binary, folder, chosen, device=device, **options)
    flat_got, flat_want = [], []
    for row, row_want in zip(got, want):
        for position, values in zip(golden["logit_positions"], row_want):
            flat_got += [float(row[position, i]) for i in golden["logit_ids"]]
            flat_want += values
    return worst("logit", flat_got, flat_want, LOGIT, relative=False)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary", type=Path)
    parser.add_argument("case", choices=tiny_models.CASES)
    parser.add_argument("--methods", nargs="*", default=["lora", "qlora", "full"])
    parser.add_argument("--layouts", nargs="*", help="default: all")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    golden = harness.load_golden()
    with harness.scratch_folder() as scratch:
        folder, case = Path(scratch), options.case
        digest = tiny_models.write_case(case, folder)
        if digest != golden["cases"][case]["digest"]:
            sys.exit(f"{case}: the files made here are not those the golden numbers were made from")
        layouts = {**LAYOUTS, **MORE_LAYOUTS.get(case, {})}
        if any("expert" in key for key in json.loads((folder / "model/config.json").read_text())):
            layouts |= EXPERT_LAYOUTS
        of_adapters = ADAPTER_LAYOUTS.get(case, {})
        chosen = options.layouts or [*layouts, *of_adapters]
        inputs = (options.binary, folder, golden, case)
        checks = []
        for name, key, how in [
            ("logits", "logits", {}),
            ("logits of an adapter", "adapter_logits", {"adapter": folder / "adapter_init"}),
            ("logits of an NF4 base", "qlora_logits", {"settings": ["adapter.method=qlora"]}),
        ]:
            checks.append((name, partial(logits_check, *inputs, key, options.device, **how)))
        for method, name in itertools.product(options.methods, chosen):
            if method == "full" and name in of_adapters:
                continue
            layout = {**layouts, **of_adapters}[name]
            run = partial(curve_check, *inputs, method, layout, options.device)
            checks.append((f"{case} {method} {name}", run))
        routers = golden["cases"][case].get("router", {})
        names = [name for name in chosen if name in ROUTER_LAYOUTS] if routers else []
        for method, name in itertools.product(["lora", "full"], names):
            if method in options.methods:
                layout = ROUTER_LAYOUTS[name]
                run = partial(router_check, *inputs, method, layout, options.device)
                checks.append((f"{case} {method} {name}, routers' loss", run))
        harness.run_checks(checks)


if __name__ == "__main__":
    main()
