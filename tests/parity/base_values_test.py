#!/usr/bin/env python3
"""base_values_test.py BINARY: what becomes of base weights in more bits than bfloat16 has, where it computes.

Masters and 4-bit codes are made from the values in the files, by train, quantize and merge alike.
"""

import re
import sys
from functools import partial
from pathlib import Path

import harness
import tiny_models

CASE = "llama_grouped"


def stored(path):
    return tiny_models.read_safetensors(path, others="skip")


def stored_in(folder):
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors.update(stored(file))
    return tensors


def run(folder, method, steps, model, **changes):
    config = harness.run_config(folder, harness.load_golden(), method, steps, **changes)
    config["model"] = {"path": str(model)}
    config["precision"] = {"compute": "bf16"}
    return config


def masters_are_the_files_values(binary, scratch, dtype, ranks, **changes):
    """After a step with the learning rate 0, which warm-up begins with."""
    folder = Path(scratch)
    config = run(folder, "full", 1, folder / dtype, **changes)
    config["optimizer"]["weight_decay"] = 0.0
    config["schedule"] = {"name": "constant", "warmup_steps": 1}
    config["train"]["save_steps"] = 1
    harness.train(binary, folder, ranks, config)
    want, parts = stored_in(folder / dtype), {}
    for shard in (Path(config["output_dir"]) / "checkpoints/step-1").glob("shard-*"):
        for label, values in stored(shard).items():
            name, kind, *place = label.split("|")
            if kind == "master":
                parts.setdefault(name, []).append((*map(int, place), values))
    if parts.keys() != want.keys():
        raise harness.Failure(f"masters of {sorted(parts)}")
    for name, pieces in parts.items():
        got = [piece[-1] for piece in sorted(pieces, key=lambda p: p[:-1])]
        if "tensor" in changes.get("parallel", {}) and re.search(r"(o|down)_proj", name):  # columns
            got = [values.reshape(len(want[name]), -1) for values in got]
        got = tiny_models.np.concatenate(got, axis=-1).ravel()
        if got.size != want[name].size:
            raise harness.Failure(f"{name}: {got.size} masters of {want[name].size}")
        different = int((got != want[name].ravel()).sum())
        if different:
            raise harness.Failure(f"{name}: {different} of {got.size} masters are not the file's values")
    return f"{len(parts)} tensors"


def curve(binary, folder, model):
    config = run(folder, "qlora", 3, model)
    rows = harness.train(binary, folder, 1, config)
    return [(row["loss"], row["grad_norm"]) for row in rows]


def loading_quantises_as_quantize_does(binary, scratch, dtype):
    """And so does merging: equal bits of every loss, and of what is merged."""
    folder = Path(scratch)
    model, nf4 = folder / dtype, folder / f"{dtype}-nf4"
    harness.run_or_fail(binary, 1, ["quantize", f"--model={model}", f"--output={nf4}"])
    word = {"F32": "float32", "F16": "float16"}[dtype]
    if f'"dtype":"{word}"'.encode() not in (nf4 / "model.safetensors").read_bytes():
        raise harness.Failure(f"no quant state has the dtype {word}")
    here, there = curve(binary, folder, model), curve(binary, folder, nf4)
    if here != there:
        raise harness.Failure(f"{here} of {dtype}, {there} of what quantize makes of it")
    merged = []
    for source, name in [(model, "merged"), (nf4, "merged-nf4")]:
        output = folder / f"{dtype}-{name}"
        words = [f"--model={source}", f"--adapter={folder / 'adapter_init'}", f"--output={output}"]
        harness.run_or_fail(binary, 1, ["merge", "--base=dequantized", *words])
        merged.append(stored_in(output))
    for name, values in merged[0].items():
        if (values != merged[1][name]).any():
            raise harness.Failure(f"{name} is merged into other values")
    return f"loss {here[-1][0]:.6f}"


def main():
    binary = Path(sys.argv[1])
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        tiny_models.write_case(CASE, folder)
        checks = []
        for dtype in tiny_models.NUMBERS:
            tiny_models.write_model(CASE, folder / dtype, dtype)
            masters = partial(masters_are_the_files_values, binary, scratch, dtype)
            checks += [
                (f"{dtype}: masters are the file's values", partial(masters, 1)),
                (f"{dtype}: loading quantises as quantize does", partial(loading_quantises_as_quantize_does, binary, scratch, dtype)),
            ]
        sharded = partial(masters_are_the_files_values, binary, scratch, "F16")
        checks += [
            ("masters of tensor slices", partial(sharded, 2, parallel={"tensor": 2})),
            ("masters of ZeRO's shards", partial(sharded, 2, parallel={"zero_stage": 3})),
            ("masters in host memory", partial(sharded, 1, optimizer={"device": "host"})),
        ]
        harness.run_checks(checks)


if __name__ == "__main__":
    main()
