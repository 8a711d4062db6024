#!/usr/bin/env python3
"""family_ends_test.py BINARY [--all] [CASE ...]: what is left of a run is what transformers makes of it, for every
later family: a model with all its weights trained, an adapter merged in 16 and in 4 bits, and what the program
answers with them. With --all also what stands between: runs that stop and go on, layouts, 4-bit bases.
"""

import argparse
import json
import shutil
from functools import partial
from pathlib import Path

from packages import peft, safetensors, torch, transformers
import harness
import tiny_models
from nf4_test import fresh, largest, load, load_float32, merge, python_logits, quantize
from eval_test import python_loss

CASES = ["gemma2", "gemma3", "olmo2", "granite", "smollm3", "glm4", "cohere2", "phi3", "qwen2_yarn", "gpt_oss"]
FUSED = ["glm4", "phi3", "gpt_oss"]
# transformers has their experts' matrices as one: what is merged and quantised has other names there.
EXPERTS = ["mixtral", "qwen3_moe", "deepseek_v2", "deepseek_v3"]
SAME_LOSS = 1e-5
# Their experts have no form in 4 bits in files.
FORM = {"gpt_oss": ["--experts=false"]}
PROMPTS, NEW = ["abc", "What?", "z"], 16
# Answers of phi3 end where its longrope changes, which is after 8 tokens.
FEW_NEW = {"phi3": 3}


def trained(binary, folder, method, ranks=1, steps=2, **changes):
    """metrics.jsonl of a run that begins anew, with the loss of the held-out rows behind its last step."""
    config = harness.run_config(folder, harness.load_golden(), method, steps, **changes)
    config["data"]["eval"] = [{"path": str(folder / "held_out.jsonl"), "format": "tokens"}]
    config["train"]["eval_steps"] = steps
    fresh(Path(config["output_dir"]))
    return harness.train(binary, folder, ranks, config)


def last_eval_loss(folder):
    lines = map(json.loads, (folder / "out" / "metrics.jsonl").read_text().splitlines())
    return [line["eval_loss"] for line in lines if "eval_loss" in line][-1]


def same_logits(what, binary, folder, model, rows, theirs=None):
    """Ours of a folder are as near to float64 arithmetic on its weights as transformers'."""
    theirs = theirs or load_float32(model)
    narrow = python_logits(theirs, rows)
    exact = python_logits(theirs.double(), rows)
    rounding, error = largest(narrow, exact), largest(harness.logits(binary, folder, rows, model=model), exact)
    if not error <= 4 * rounding:
        raise harness.Failure(f"{what}: logits are off by {error:.1e}, transformers' by {rounding:.1e}")
    return f"{what} {error:.1e}"


def a_trained_model_is_transformers(binary, folder, case, rows):
    trained(binary, folder, "full")
    model = folder / "out" / "model"
    names = ["missing_keys", "unexpected_keys", "mismatched_keys"]
    _, told = transformers.AutoModelForCausalLM.from_pretrained(model, output_loading_info=True)
    if any(told[name] for name in names):
        raise harness.Failure(f"transformers finds {told}")
    if json.loads((model / "config.json").read_text()) != json.loads((folder / "model/config.json").read_text()):
        raise harness.Failure("config.json is not the base's")
    shutil.rmtree(folder / "base", ignore_errors=True)
    (folder / "base").mkdir()
    (folder / "base" / "model").symlink_to(model)
    want, got = python_loss(folder / "base", rows)[0], last_eval_loss(folder)
    if not abs(got - want) <= SAME_LOSS:
        raise harness.Failure(f"held-out loss {got}, {want} in transformers")
    return f"loss {got:.6f}"


def a_merged_adapter_answers_as_pefts(binary, folder, case, rows):
    model = merge(binary, folder, folder / "merged")
    peft_model = peft.PeftModel.from_pretrained(load(folder / "model", dtype=torch.float32), folder / "adapter_init")
    theirs = peft_model.merge_and_unload()
    weights, ours = theirs.state_dict(), safetensors.torch.load_file(model / "model.safetensors")
    if ours.keys() != tiny_models.weight_shapes(tiny_models.CASES[case][0]).keys():
        raise harness.Failure(f"the merged model has {sorted(ours)[:5]} ...")
    for name, value in ours.items():
        error = ((value - weights[name]).abs().max() / weights[name].abs().max()).item()
        if not error <= 2e-6:
            raise harness.Failure(f"{name} is off by {error:.1e}")
    new = FEW_NEW.get(case, NEW)
    prompts = [prompt[: 8 - new] for prompt in PROMPTS] if case in FEW_NEW else PROMPTS
    tiny_models.write_rows(folder / "in.jsonl", [{"prompt": prompt} for prompt in prompts])
    flags = [f"--model={model}", f"--prompts={folder / 'in.jsonl'}", f"--output={folder / 'answers.jsonl'}", "--raw"]
    flags += [f"--max_new_tokens={new}", "--set", "precision.compute=fp32", "--set", "device=cpu"]
    fresh(folder / "answers.jsonl").unlink(missing_ok=True)
    harness.run_or_fail(binary, 1, ["generate", *flags])
    answers = [json.loads(line)["token_ids"] for line in (folder / "answers.jsonl").read_text().splitlines()]
    for prompt, answer in zip(prompts, answers, strict=True):
        want = greedy(theirs, prompt, new)
        if answer != want:
            raise harness.Failure(f"{prompt!r} is answered with {answer}, {want} in transformers")
    return f"{len(answers)} answers"


@torch.no_grad()
def greedy(model, prompt, new):
    """Without a cache, up to the first token that ends an answer."""
    ids, answer = list(prompt.encode()), []
    while len(answer) < new:
        token = int(model(input_ids=torch.tensor([ids + answer]), use_cache=False).logits[0, -1].argmax())
        if token in (1, 2, 257):
            break
        answer.append(token)
    return answer


def merged_in_4_bits_is_transformers(binary, folder, case, rows):
    model = merge(binary, folder, folder / "merged4", "--quantize", *FORM.get(case, []))
    return same_logits("4 bits", binary, folder, model, rows)


def stops_and_goes_on(binary, folder, case, rows):
    """In bfloat16 on two ranks: the curve and the result are those of a run that did not stop."""
    def run(steps, **train):
        config = harness.run_config(
            folder, harness.load_golden(), "lora", steps, parallel={"tensor": 2}, precision={"compute": "bf16"}
        )
        config["schedule"] = {"name": "constant"}
        config["train"].update(save_steps=1, resume="auto", **train)
        harness.train(binary, folder, 2, config)
        lines = [json.loads(line) for line in (folder / "out/metrics.jsonl").read_text().splitlines()]
        adapter = (folder / "out/adapter/adapter_model.safetensors").read_bytes()
        return [(line["loss"], line["grad_norm"]) for line in lines], adapter

    fresh(folder / "out")
    want = run(3)
    fresh(folder / "out")
    run(2)
    if run(3, allow_changed=["train.max_steps"]) != want:
        raise harness.Failure("the run that went on differs")
    return f"loss {want[0][-1][0]:.6f}"


def layouts_are_one_ranks(binary, folder, case, rows):
    said = []
    for method, parallel in [("full", {"tensor": 2}), ("qlora", {"pipeline": 2}), ("qlora", {"tensor": 2})]:
        one = trained(binary, folder, method)
        two = trained(binary, folder, method, 2, parallel=parallel)
        apart = max(abs(a["loss"] - b["loss"]) for a, b in zip(one, two, strict=True))
        if not apart <= SAME_LOSS:
            raise harness.Failure(f"{method} on {parallel}: losses are {apart:.1e} apart")
        said.append(f"{apart:.0e}")
    config = harness.run_config(folder, harness.load_golden(), "lora", 2, parallel={"tensor": 2})
    path = harness.write_config(folder, config)
    harness.run_or_fail(binary, 2, ["verify", f"--config={path}"])
    return ", ".join(said) + ", verified"


def a_quantised_folder_is_transformers(binary, folder, case, rows):
    nf4 = quantize(binary, folder, folder / "nf4", *FORM.get(case, []))
    said = [same_logits("quantised", binary, folder, nf4, rows)]
    model = merge(binary, folder, folder / "merged", model=nf4)
    said.append(same_logits("merged into it", binary, folder, model, rows))
    return ", ".join(said)


def checks_of(case, every):
    of_runs = [stops_and_goes_on, layouts_are_one_ranks] if every else []
    if case in EXPERTS:
        return [a_trained_model_is_transformers, *of_runs]
    chosen = [a_trained_model_is_transformers, a_merged_adapter_answers_as_pefts, *of_runs]
    if every:
        chosen.append(a_quantised_folder_is_transformers)
    if every or case in FUSED:
        chosen.append(merged_in_4_bits_is_transformers)
    return chosen


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=Path)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    with harness.scratch_folder() as scratch:
        checks = []
        for case in options.cases or CASES + (EXPERTS if options.all else []):
            folder, rows = Path(scratch) / case, tiny_models.token_rows(case)[:3]
            tiny_models.write_case(case, folder)
            tiny_models.write_rows(folder / "held_out.jsonl", rows)
            checks += [(f"{case}: {check.__name__}", partial(check, options.binary, folder, case, rows)) for check in checks_of(case, options.all)]
        harness.run_checks(checks)


if __name__ == "__main__":
    main()
