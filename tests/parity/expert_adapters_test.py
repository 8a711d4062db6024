#!/usr/bin/env python3
"""expert_adapters_test.py BINARY: adapters on parameters of experts (target_parameters) as PEFT has them: one that PEFT
saved gives the same logits here, whichever parameters it is on; one trained from it, on ranks that share each expert,
loads in PEFT; merged it is what PEFT merges; and one begun afresh has PEFT's tensors."""

import argparse
import json
from functools import partial
from pathlib import Path

from packages import peft, safetensors, torch, transformers
import harness
import tiny_models
from nf4_test import fresh, largest, merge, python_logits

GATE_UP, DOWN = "mlp.experts.gate_up_proj", "mlp.experts.down_proj"
TARGETS = {"both": [GATE_UP, DOWN], "gate_up": [GATE_UP], "down": [DOWN]}
CASES = ["mixtral", "qwen3_moe", "gpt_oss"]
SAME = 2e-5


def load(model):
    return transformers.AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
    )


def save_adapter(folder, targets, modules):
    """PEFT's folder of an adapter on modules and the parameters, with ranks of their own, no factor zero."""
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=modules, target_parameters=targets, task_type="CAUSAL_LM",
        rank_pattern={DOWN: 3},
    )
    model = peft.get_peft_model(load(folder / "model"), config)
    torch.manual_seed(11)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    adapter = folder / "theirs"
    model.save_pretrained(fresh(adapter))
    return adapter, model


def same(what, ours, theirs, rows):
    error = largest(ours, python_logits(theirs, rows))
    if not error <= SAME:
        raise harness.Failure(f"{what}: logits are off by {error:.1e}")
    return f"{what} {error:.1e}"


def is_pefts(binary, folder, targets, modules, rows):
    adapter, model = save_adapter(folder, targets, modules)
    said = [same("loaded", harness.logits(binary, folder, rows, adapter=adapter), model, rows)]
    config = harness.run_config(folder, harness.load_golden(), "full", 3, parallel={"tensor": 2})
    config["adapter"] = {"method": "lora", "init_from": str(adapter)}
    fresh(Path(config["output_dir"]))
    harness.train(binary, folder, 2, config)
    trained = folder / "out" / "adapter"
    theirs = peft.PeftModel.from_pretrained(load(folder / "model"), trained)
    said.append(same("trained", harness.logits(binary, folder, rows, adapter=trained), theirs, rows))
    merged = merge(binary, folder, folder / "merged", "--least_share=0", adapter=trained)
    said.append(same("merged", harness.logits(binary, folder, rows, model=merged), theirs, rows))
    said.append(same("in transformers", python_logits(load(merged), rows), theirs, rows))
    return ", ".join(said)


def begun_afresh_has_pefts_tensors(binary, folder, adapter):
    config = harness.run_config(folder, harness.load_golden(), "full", 3)
    config["adapter"] = {"r": 4, "alpha": 8, "target_parameters": [DOWN, GATE_UP], **adapter}
    fresh(Path(config["output_dir"]))
    harness.train(binary, folder, 1, config)
    ours = safetensors.torch.load_file(folder / "out/adapter/adapter_model.safetensors")
    written = json.loads((folder / "out/adapter/adapter_config.json").read_text())
    kept = {key: written[key] for key in ["r", "lora_alpha", "target_modules", "target_parameters"]}
    model = peft.get_peft_model(load(folder / "model"), peft.LoraConfig(task_type="CAUSAL_LM", **kept))
    theirs = peft.get_peft_model_state_dict(model)
    if {name: t.shape for name, t in ours.items()} != {name: t.shape for name, t in theirs.items()}:
        raise harness.Failure(f"the tensors differ: {sorted(ours.keys() ^ theirs.keys())[:4]}")
    return f"{len(ours)} tensors"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=Path)
    binary = parser.parse_args().binary
    torch.set_num_threads(1)
    with harness.scratch_folder() as scratch:
        checks = []
        for case in CASES:
            folder, rows = Path(scratch) / case, tiny_models.token_rows(case)[:2]
            tiny_models.write_case(case, folder)
            kinds = TARGETS if case == "qwen3_moe" else {"both": TARGETS["both"]}
            checks += [(f"{case}, {kind}", partial(is_pefts, binary, folder, targets, ["q_proj", "o_proj"], rows))
                       for kind, targets in kinds.items()]
            afresh = partial(begun_afresh_has_pefts_tensors, binary, folder, {"method": "qlora"})
            checks.append((f"{case}, afresh", afresh))
        alone = Path(scratch) / "qwen3_moe"  # no module has one
        rows = tiny_models.token_rows("qwen3_moe")[:2]
        checks.append(("experts alone", partial(is_pefts, binary, alone, TARGETS["both"], [], rows)))
        none = {"method": "lora", "target_modules": []}
        checks.append(("experts alone, afresh", partial(begun_afresh_has_pefts_tensors, binary, alone, none)))
        harness.run_checks(checks)


if __name__ == "__main__":
    main()
