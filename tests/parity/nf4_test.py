#!/usr/bin/env python3
"""nf4_test.py BINARY [WORDS]: NF4 folders go both ways between fttrain, transformers and bitsandbytes, and
merged adapters are what PEFT makes of them."""

import json
import math
import re
import shutil
import sys
from functools import partial
from pathlib import Path

from packages import bitsandbytes, peft, safetensors, torch, transformers
import harness
import nearest_nf4
import tiny_models

SAME_LOGITS = 1e-5
USAGE, BAD_FILE, MISSING, CANNOT_WRITE = 64, 65, 66, 74
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16}


def load(folder, **options):
    if "num_local_experts" in (Path(folder) / "config.json").read_text():
        options["experts_implementation"] = "eager"  # the default has no float64
    return nearest_nf4.plain_products(
        transformers.AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", **options
        )
    )


def load_float32(folder):
    """float32 arithmetic on what a folder's weights are in the dtype of their quant states.

    (bitsandbytes 0.50 multiplies by weights of that dtype in backward passes, and by unrounded
    ones in forward passes of another dtype.)
    """
    model = load(folder, dtype=torch.float32)
    if getattr(model, "is_quantized", False):
        model.dequantize()
    return model.float()


def quantized(folder, dtype=torch.float32, **options):
    """What transformers and bitsandbytes make of a folder that is not quantised."""
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, **options
    )
    return load(folder, dtype=dtype, quantization_config=config)


@torch.no_grad()
def python_logits(model, rows):
    return [
        model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0].float().numpy()
        for row in rows
    ]


def largest(got, want):
    return max(float(abs(g - w).max()) for g, w in zip(got, want))


def expect_same(what, got, want, allowed=SAME_LOGITS):
    error = largest(got, want)
    if not error <= allowed:
        raise harness.Failure(f"{what}: logits differ by {error:.1e}, {allowed:.0e} allowed")
    return f"{what} {error:.1e}"


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def quantize(binary, folder, output, *flags):
    arguments = ["quantize", f"--model={folder / 'model'}", f"--output={fresh(output)}", *flags]
    harness.run_or_fail(binary, 1, arguments)
    return output


def transformers_loads_what_quantize_writes(binary, case, folder, rows):
    said, dtype = [], DTYPES[tiny_models.CASES[case][2]]
    for flags, options in [
        (["--double_quant=false"], {}),
        (["--double_quant=false", "--lm_head"], {"llm_int8_skip_modules": []}),
    ]:
        if "--lm_head" in flags and tiny_models.CASES[case][0]["tie_word_embeddings"]:
            continue
        output = quantize(binary, folder, folder / "nf4", *flags)
        there = python_logits(load(output, dtype=dtype), rows)
        made_there = quantized(folder / "model", dtype, **options)
        said.append(expect_same("as bitsandbytes'", there, python_logits(made_there, rows), 1e-6))
        there = python_logits(load_float32(output), rows)
        here = harness.logits(binary, folder, rows, model=output)
        said.append(expect_same("as here", there, here))
    for flags in [[], ["--block_size=128"], ["--block_size=32", "--double_quant=false"]]:
        output = quantize(binary, folder, folder / "nf4", *flags)
        there = python_logits(load_float32(output), rows)
        name = " ".join(flags) or "plain"
        said.append(expect_same(name, there, harness.logits(binary, folder, rows, model=output)))
    # The form a run makes while loading is the form that quantize writes.
    output = quantize(binary, folder, folder / "nf4")
    if dtype == torch.float32:
        at_once = harness.logits(binary, folder, rows, settings=["adapter.method=qlora"])
        there = harness.logits(binary, folder, rows, model=output)
        said.append(expect_same("quantised on loading", at_once, there, 0))
    return ", ".join(said)


def a_folder_saved_by_transformers_loads(binary, case, folder, rows):
    said = []
    for name, options in [
        ("double", {"bnb_4bit_use_double_quant": True}),
        ("single", {}),
        ("stored as bf16", {"bnb_4bit_quant_storage": torch.bfloat16}),
        ("dtype bf16", {"dtype": torch.bfloat16, "bnb_4bit_use_double_quant": True}),
    ]:
        model = quantized(folder / "model", **options)
        model.save_pretrained(fresh(folder / "saved"))
        here = harness.logits(binary, folder, rows, model=folder / "saved", ranks=2)
        if "dtype" in options:
            model = load_float32(folder / "saved")
        said.append(expect_same(name, here, python_logits(model, rows)))
    return ", ".join(said)


def metrics(binary, folder, golden, model, ranks, **changes):
    config = harness.run_config(folder, golden, "qlora", 4, **changes)
    config["model"] = {"path": str(model)}
    config["train"].update(micro_batch_size=4, gradient_accumulation_steps=1)
    rows = harness.train(binary, folder, ranks, config)
    resolved = (Path(config["output_dir"]) / "config.yaml").read_text()
    return [(row["loss"], row["grad_norm"]) for row in rows], resolved


def a_quantised_folder_trains_as_its_source(binary, folder, golden):
    output = quantize(binary, folder, folder / "nf4", "--block_size=128", "--lm_head")
    form = {"block_size": 128, "lm_head": True}
    for tensor in [1, 2, 4]:
        layout = {"parallel": {"tensor": tensor}}
        want, _ = metrics(
            binary, folder, golden, folder / "model", tensor, **layout,
            adapter={"quantization": form},
        )
        got, resolved = metrics(binary, folder, golden, output, tensor, **layout)
        if got != want:
            raise harness.Failure(f"tensor {tensor}: {got} from the quantised folder, not {want}")
        if "block_size: 128" not in resolved:
            raise harness.Failure("config.yaml does not have the folder's block size")
    return f"equal bits on 1, 2 and 4 ranks, loss {got[-1][0]:.6f}"


def held_weights_are_the_closed_form(binary, folder, golden):
    """Half a byte a code, a byte for 64 of them, a float32 for 256 of those; parts begin at 16 bytes."""
    up = lambda size: -(-size // 16) * 16
    want = 0
    for file in (folder / "model").glob("*.safetensors"):
        with safetensors.safe_open(file, "pt") as tensors:
            for name in tensors.keys():
                count = math.prod(tensors.get_slice(name).get_shape())
                blocks = -(-count // 64)
                packed = up(count // 2) + up(blocks) + up(4 * -(-blocks // 256)) + 16
                want += packed if "_proj.weight" in name else 4 * count
    config = harness.run_config(folder, golden, "qlora", 2)
    written = harness.write_config(folder, config)
    said = harness.run_or_fail(binary, 1, ["train", f"--config={written}"]).stdout
    got = int(re.search(r"held +weights ([\d,]+) bytes", said).group(1).replace(",", ""))
    if got != want:
        raise harness.Failure(f"the ledger has {got} bytes of weights, the closed form {want}")
    return f"{got} bytes"


def merge(binary, folder, output, *flags, model=None, adapter=None):
    harness.run_or_fail(
        binary,
        1,
        [
            "merge",
            f"--model={model or folder / 'model'}",
            f"--adapter={adapter or folder / 'adapter_init'}",
            f"--output={fresh(output)}",
            *flags,
        ],
    )
    return output


def merged_is_what_peft_merges(binary, case, folder, rows):
    output = merge(binary, folder, folder / "merged")
    dtype = DTYPES[tiny_models.CASES[case][2]]
    model = peft.PeftModel.from_pretrained(load(folder / "model", dtype=dtype), folder / "adapter_init")
    want = model.merge_and_unload()
    theirs = want.state_dict()
    ours = {}
    for file in output.glob("*.safetensors"):
        ours.update(safetensors.torch.load_file(file))
    if {value.dtype for value in ours.values()} != {dtype}:
        raise harness.Failure(f"the base is {dtype}, but not all tensors are")
    # PEFT rounds the product before it adds: in 16 bits half a unit more.
    allowed = 2e-6 if dtype == torch.float32 else 2**-8
    for name, value in ours.items():
        error = ((value - theirs[name]).float().abs() / theirs[name].float().abs().max()).max().item()
        if not error <= allowed:
            raise harness.Failure(f"{name} differs by {error:.1e}, {allowed:.0e} allowed")
    unmerged = harness.logits(binary, folder, rows, folder / "adapter_init")
    merged = harness.logits(binary, folder, rows, model=output)
    said = [expect_same("as the adapter", merged, unmerged, 2e-5 if dtype == torch.float32 else 0.1)]
    there = python_logits(load_float32(output), rows)
    said.append(expect_same("in transformers", merged, there))
    return ", ".join(said)


def merged_into_nf4_is_the_model_that_was_trained(binary, folder, rows):
    adapter = folder / "adapter_init"
    trained = harness.logits(binary, folder, rows, adapter, settings=["adapter.method=qlora"])
    said = []
    output = merge(binary, folder, folder / "merged", "--base=dequantized")
    said.append(expect_same("from 32 bits", harness.logits(binary, folder, rows, model=output), trained, 2e-5))
    nf4 = quantize(binary, folder, folder / "nf4")
    output = merge(binary, folder, folder / "merged", model=nf4)
    merged = harness.logits(binary, folder, rows, model=output)
    said.append(expect_same("from NF4", merged, trained, 2e-5))
    said.append(expect_same("in transformers", python_logits(load_float32(output), rows), merged))

    again = merge(binary, folder, folder / "again", "--quantize", model=nf4)
    here = harness.logits(binary, folder, rows, model=again)
    there = python_logits(load_float32(again), rows)
    said.append(expect_same("quantised again", here, there))
    if not 1e-3 < largest(here, merged):
        raise harness.Failure(f"quantising again moved logits by {largest(here, merged):.1e}")
    return ", ".join(said)


def an_update_that_4_bits_forget_is_refused(binary, folder, rows):
    """A thousandth of the adapter is below every half step of NF4: merged so it would be gone."""
    small = fresh(folder / "small")
    shutil.copytree(folder / "adapter_init", small)
    tensors = safetensors.torch.load_file(small / "adapter_model.safetensors")
    scaled = {name: value * (1e-3 if ".lora_B." in name else 1) for name, value in tensors.items()}
    safetensors.torch.save_file(scaled, small / "adapter_model.safetensors")
    nf4, output = quantize(binary, folder, folder / "nf4"), fresh(folder / "again")
    words = ["merge", f"--model={nf4}", f"--adapter={small}", f"--output={output}"]
    said = refused(binary, [*words, "--quantize"], USAGE, "of the adapter's update would be left", output)
    for words_of_remedy in ["leave out --quantize", "keep the adapter"]:
        refused(binary, [*words, "--quantize"], USAGE, words_of_remedy, output)
    base = harness.logits(binary, folder, rows, model=nf4)
    with_adapter = harness.logits(binary, folder, rows, model=nf4, adapter=small)
    harness.run_or_fail(binary, 1, [*words, "--quantize", "--least_share=0"])
    forgotten = harness.logits(binary, folder, rows, model=output)
    merged = harness.logits(binary, folder, rows, model=merge(binary, folder, folder / "m", model=nf4, adapter=small))
    moved = largest(with_adapter, base)
    if not (largest(merged, with_adapter) < 0.1 * moved and largest(forgotten, with_adapter) > 0.5 * moved):
        raise harness.Failure(f"the adapter moves {moved:.1e}; 32 bits and 4 are off by "
                              f"{largest(merged, with_adapter):.1e} and {largest(forgotten, with_adapter):.1e}")
    return said


def refused(binary, arguments, code, must_say, output=None, ranks=1, wrapper=()):
    done = harness.mpirun(binary, ranks, arguments, 60, wrapper)
    said = done.stderr.strip()
    if done.returncode != code or must_say not in said:
        raise harness.Failure(f"exit {done.returncode}, {code} expected, to say '{must_say}': {said[:300]}")
    if output and list(output.parent.glob(output.name + "*")):
        raise harness.Failure(f"{output} was written")
    return f"exit {code}: {said.splitlines()[0][:110]}"


def refusals(binary, folder):
    """(name, check) of what must end in one clear line and leave nothing."""
    model, nf4, out = folder / "model", folder / "nf4_kept", folder / "refused"
    adapter = folder / "adapter_init"
    base = [f"--model={model}", f"--output={out}"]
    full_disk = ("bash", "-c", 'trap "" XFSZ; ulimit -f 64; exec "$@"', "bash")
    config = harness.run_config(folder, harness.load_golden(), "lora", 3)

    def train(method, path, **adapter_keys):
        config["adapter"] = {**config["adapter"], "method": method, **adapter_keys}
        config["model"] = {"path": str(path)}
        return ["train", f"--config={harness.write_config(folder, config)}"]

    def spoilt_state():
        spoilt = fresh(folder / "spoilt")
        shutil.copytree(nf4, spoilt)
        path = spoilt / "model.safetensors"
        path.write_bytes(path.read_bytes().replace(b'"blocksize":64', b'"blocksize":65', 1))
        return ["logits", f"--model={spoilt}", f"--input={folder / 'rows.jsonl'}", f"--output={out}"]

    def spoilt_config():
        spoilt = fresh(folder / "spoilt")
        shutil.copytree(nf4, spoilt)
        config_json = json.loads((spoilt / "config.json").read_text())
        config_json["quantization_config"]["bnb_4bit_quant_type"] = "fp4"
        tiny_models.write_json(spoilt / "config.json", config_json)
        return train("qlora", spoilt)

    table = [
        ("quantize without --output", lambda: ["quantize", f"--model={model}"], USAGE, "--output"),
        ("quantize a missing model", lambda: ["quantize", f"--model={out}/x", f"--output={out}"], MISSING, "/x"),
        ("quantize into its own folder", lambda: ["quantize", f"--model={model}", f"--output={model}/."], USAGE, "is the folder of --model"),
        ("quantize into a folder with files", lambda: ["quantize", f"--model={model}", f"--output={nf4}"], USAGE, "is not empty"),
        ("quantize what is quantised", lambda: ["quantize", f"--model={nf4}", f"--output={out}"], USAGE, "is quantised already"),
        ("quantize in blocks of 48", lambda: ["quantize", *base, "--block_size=48"], USAGE, "--block_size"),
        ("logits in blocks of 100", lambda: ["logits", f"--model={model}", f"--input={folder / 'rows.jsonl'}", f"--output={out}", "--set=adapter.method=qlora", "--set=adapter.quantization.block_size=100"], USAGE, "must be a power of two"),
        ("merge without an adapter", lambda: ["merge", *base], USAGE, "--adapter"),
        ("merge a missing adapter", lambda: ["merge", *base, f"--adapter={out}/x"], MISSING, "adapter_config.json"),
        ("merge into the original of NF4", lambda: ["merge", f"--model={nf4}", f"--output={out}", f"--adapter={adapter}", "--base=original"], USAGE, "holds NF4 weights only"),
        ("merge with a form but no NF4", lambda: ["merge", *base, f"--adapter={adapter}", "--block_size=64"], USAGE, "--quantize or --base=dequantized"),
        ("lora on an NF4 folder", lambda: train("lora", nf4), USAGE, "use adapter.method qlora"),
        ("qlora in another form", lambda: train("qlora", nf4, quantization={"block_size": 128}), USAGE, "is quantised already, with block_size 64"),
        ("an NF4 folder of fp4", spoilt_config, BAD_FILE, "'bnb_4bit_quant_type' 'fp4'"),
        ("a state with blocks of 65", spoilt_state, BAD_FILE, "'blocksize' is 65"),
    ]
    checks = []
    for name, arguments, code, must_say in table:
        checks.append((name, lambda a=arguments, c=code, m=must_say: refused(binary, a(), c, m, out)))
    checks.append(("quantize on two ranks", lambda: refused(binary, ["quantize", *base], USAGE, "leave out mpirun", out, 2)))
    for command in [["quantize", *base], ["merge", *base, f"--adapter={adapter}"]]:
        checks.append(
            (f"{command[0]} on a full disk", lambda c=command: refused(binary, c, CANNOT_WRITE, "bytes to go", out, 1, full_disk))
        )
    return checks


def main():
    binary = Path(sys.argv[1])
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    torch.set_num_threads(1)
    golden = harness.load_golden()
    with harness.scratch_folder() as scratch:
        checks = []
        for case in ["llama_grouped", "qwen2"]:
            folder = Path(scratch) / case
            tiny_models.write_case(case, folder)
            inputs = (binary, case, folder, tiny_models.token_rows(case)[:3])
            checks += [
                (f"{case}: transformers loads what quantize writes", partial(transformers_loads_what_quantize_writes, *inputs)),
                (f"{case}: a folder saved by transformers loads", partial(a_folder_saved_by_transformers_loads, *inputs)),
                (f"{case}: merge is PEFT's", partial(merged_is_what_peft_merges, *inputs)),
            ]
        folder = Path(scratch) / "llama_grouped"
        rows = tiny_models.token_rows("llama_grouped")[:3]
        quantize(binary, folder, folder / "nf4_kept")
        checks += [
            ("a quantised folder trains as its source", lambda: a_quantised_folder_trains_as_its_source(binary, folder, golden)),
            ("the weights' bytes are the closed form", lambda: held_weights_are_the_closed_form(binary, folder, golden)),
            ("merged into NF4: the model that was trained", lambda: merged_into_nf4_is_the_model_that_was_trained(binary, folder, rows)),
            ("an update that 4 bits forget is refused", lambda: an_update_that_4_bits_forget_is_refused(binary, folder, rows)),
            *refusals(binary, folder),
        ]
        harness.run_checks([check for check in checks if wanted in check[0]])


if __name__ == "__main__":
    main()
