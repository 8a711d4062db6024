#!/usr/bin/env python3
"""mxfp4_test.py BINARY: a gpt_oss folder whose experts are in MXFP4 is the model that transformers reads out of it: its
logits, on one rank and on two that share each expert, trained in 4 bits or with all weights, and merged."""

import argparse
import json
from functools import partial
from pathlib import Path

from packages import safetensors, torch, transformers
import harness
import tiny_models
from nf4_test import fresh, largest, merge, python_logits

from transformers.integrations.mxfp4 import convert_moe_packed_tensors

SAME = 2e-5


def packed(case, name, shape):
    """Blocks and scales of a stack [count, in, columns], of about a random weight's size."""
    count, rows, columns = shape
    random = tiny_models.stream(case, name + "_blocks")
    blocks = random.randint(0, 256, (count, columns, rows // 32, 16)).astype("u1")
    scales = random.randint(119, 124, (count, columns, rows // 32)).astype("u1")
    return torch.from_numpy(blocks), torch.from_numpy(scales)


def write_folders(folder):
    """folder/packed/model, with MXFP4 experts and the rest in bfloat16, and folder/model, what it stands for."""
    case, config = "gpt_oss", {**tiny_models.CASES["gpt_oss"][0], "intermediate_size": 64, "torch_dtype": "bfloat16"}
    plain, four = {}, {}
    for name, shape in tiny_models.weight_shapes(config).items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            four[f"{name}_blocks"], four[f"{name}_scales"] = packed(case, name, shape)
            plain[name] = convert_moe_packed_tensors(four[f"{name}_blocks"], four[f"{name}_scales"])
        else:
            plain[name] = torch.from_numpy(tiny_models.random_weight(case, name, shape)).to(torch.bfloat16)
            four[name] = plain[name]
    for model, tensors in [(folder / "model", plain), (folder / "packed/model", four)]:
        model.mkdir(parents=True)
        safetensors.torch.save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
        tiny_models.write_tokenizer(model)
        method = {"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}}
        tiny_models.write_json(model / "config.json", config | (method if tensors is four else {}))
    for each in [folder, folder / "packed"]:
        tiny_models.write_adapter(case, each / "adapter_init")
        tiny_models.write_rows(each / "rows.jsonl", tiny_models.token_rows(case))


def same_logits(binary, folder, rows):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "packed/model", dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
    )
    want = python_logits(theirs, rows)
    said = []
    for ranks in (1, 2):
        ours = harness.logits(binary, folder / "packed", rows, ranks=ranks, settings=[f"parallel.tensor={ranks}"])
        said.append(largest(ours, want))
    if not max(said) <= SAME:
        raise harness.Failure(f"logits are off by {said}")
    return f"off by {max(said):.1e}"


def trains_as_what_it_stands_for(binary, folder, method, rows):
    """Bit by bit, in bfloat16, which holds all its values."""
    def losses(of):
        config = harness.run_config(of, harness.load_golden(), method, 2, precision={"compute": "bf16"})
        fresh(of / "out")
        return [(row["loss"], row["grad_norm"]) for row in harness.train(binary, of, 1, config)]

    want, got = losses(folder), losses(folder / "packed")
    if got != want:
        raise harness.Failure(f"{got}, not {want}")
    if method == "full":
        _, told = transformers.AutoModelForCausalLM.from_pretrained(
            folder / "packed/out/model", output_loading_info=True
        )
        if any(told[name] for name in ["missing_keys", "unexpected_keys", "mismatched_keys"]):
            raise harness.Failure(f"transformers finds {told}")
    return f"loss {got[-1][0]:.6f}"


def merges_into_16_bits(binary, folder, rows):
    ours = [safetensors.torch.load_file(merge(binary, of, of / "merged", "--least_share=0") / "model.safetensors")
            for of in (folder, folder / "packed")]
    if ours[0].keys() != ours[1].keys() or not all(torch.equal(ours[0][name], ours[1][name]) for name in ours[0]):
        raise harness.Failure("the merged models differ")
    if "quantization_config" in json.loads((folder / "packed/merged/config.json").read_text()):
        raise harness.Failure("the merged model says that it is quantised")
    return f"{len(ours[0])} tensors"


def is_refused(binary, folder, rows):
    done = harness.mpirun(
        binary, 1, ["quantize", f"--model={folder / 'packed/model'}", f"--output={folder / 'nf4'}"], 60
    )
    if done.returncode == 0 or "--experts=false takes them" not in done.stderr:
        raise harness.Failure(f"exit {done.returncode}: {done.stderr[:300]}")
    return "exit " + str(done.returncode)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=Path)
    binary = parser.parse_args().binary
    torch.set_num_threads(1)
    with harness.scratch_folder() as scratch:
        folder, rows = Path(scratch), tiny_models.token_rows("gpt_oss")[:3]
        write_folders(folder)
        harness.run_checks(
            [
                ("logits are transformers'", partial(same_logits, binary, folder, rows)),
                ("qlora", partial(trains_as_what_it_stands_for, binary, folder, "qlora", rows)),
                ("full", partial(trains_as_what_it_stands_for, binary, folder, "full", rows)),
                ("merged", partial(merges_into_16_bits, binary, folder, rows)),
                ("quantize with its experts", partial(is_refused, binary, folder, rows)),
            ]
        )


if __name__ == "__main__":
    main()
