#!/usr/bin/env python3
"""eval_test.py BINARY: the loss of held-out rows is transformers', the same in every layout, and
decides what a run leaves and when it ends."""

import json
import math
import random
import shutil
import sys
from functools import partial
from pathlib import Path

from packages import peft, torch, transformers
import harness
import tiny_models

SAME_LOSS = 1e-5
CASE = "llama_grouped"
STEPS, EVERY = 6, 2

# name -> (ranks, what differs from one rank)
LAYOUTS = {
    "one rank": (1, {}),
    "recompute": (1, {"memory": {"recompute": "full"}}),
    "layer-major": (1, {"parallel": {"pipeline_schedule": "layer_major"}}),
    "weights on disk": (
        1,
        {"parallel": {"pipeline_schedule": "layer_major"}, "memory": {"base_weights": "disk"}},
    ),
    "dp 2": (2, {}),
    "dp 2, ZeRO 3": (2, {"parallel": {"zero_stage": 3}}),
    "tp 2": (2, {"parallel": {"tensor": 2, "sequence_parallel": False}}),
    "tp 2, sequence parallel": (2, {"parallel": {"tensor": 2, "sequence_parallel": True}}),
    "pp 2": (2, {"parallel": {"pipeline": 2}}),
    "pp 2, gpipe": (2, {"parallel": {"pipeline": 2, "pipeline_schedule": "gpipe"}}),
    "pp 2, tp 2": (4, {"parallel": {"pipeline": 2, "tensor": 2}}),
    "pp 2, dp 2, ZeRO 3": (4, {"parallel": {"pipeline": 2, "zero_stage": 3}}),
}


def expect(condition, what):
    if not condition:
        raise harness.Failure(what)


def fresh(scratch, name):
    """A case in a folder of its own, with eleven rows that are held out; five have no prompt."""
    folder = scratch / name
    shutil.rmtree(folder, ignore_errors=True)
    tiny_models.write_case(CASE, folder)
    draw = random.Random(3)
    rows = []
    for i in range(11):
        ids = [draw.randrange(3, 250) for _ in range(5 + 4 * i)]
        rows.append({"input_ids": ids, "labels": [-100] * (i % 2 * 4) + ids[i % 2 * 4 :]})
    tiny_models.write_rows(folder / "held_out.jsonl", rows)
    return folder, rows


def config_of(folder, steps=STEPS, every=EVERY, **changes):
    """Microbatches of one row, four a step on any number of ranks."""
    config = harness.run_config(folder, harness.load_golden(), "lora", steps, **changes)
    config["data"]["eval"] = [{"path": str(folder / "held_out.jsonl"), "format": "tokens"}]
    config["train"].update({"micro_batch_size": 1, "eval_steps": every, **changes.get("train", {})})
    config["adapter"]["dropout"] = 0.2  # which evaluation leaves out
    return config


def trained(binary, folder, ranks, config):
    """Lines of evaluations, and what the run says."""
    parallel = config.get("parallel", {})
    replicas = ranks // parallel.get("tensor", 1) // parallel.get("pipeline", 1)
    config["train"]["gradient_accumulation_steps"] = 4 // replicas
    path = harness.write_config(folder, config)
    said = harness.run_or_fail(binary, ranks, ["train", f"--config={path}"]).stdout
    lines = map(json.loads, (folder / "out" / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if "eval_loss" in line], said


def evaluated(binary, folder, ranks, *flags):
    path = folder / "run.yaml"
    done = harness.run_or_fail(binary, ranks, ["eval", f"--config={path}", "--json", *flags])
    return json.loads(done.stdout)


@torch.no_grad()
def python_loss(folder, rows, adapter=None):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "model", dtype=torch.float32, attn_implementation="eager"
    )
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, adapter)
    model.eval()
    total, targets = 0.0, 0
    for row in rows:
        cut = {key: torch.tensor([row[key][:48]]) for key in ("input_ids", "labels")}
        logits = model(input_ids=cut["input_ids"], use_cache=False).logits[0, :-1].double()
        labels = cut["labels"][0, 1:]
        total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        targets += int((labels != -100).sum())
    return total / targets, targets


def equals_transformers(binary, scratch):
    folder, rows = fresh(scratch, "transformers")
    lines, _ = trained(binary, folder, 1, config_of(folder))
    expect([line["step"] for line in lines] == [2, 4, 6], f"evaluated after {lines}")
    want, targets = python_loss(folder, rows, folder / "out" / "adapter")
    last = lines[-1]
    expect(last["eval_target_tokens"] == targets, f"{last['eval_target_tokens']} targets")
    expect(abs(last["eval_loss"] - want) <= SAME_LOSS, f"{last['eval_loss']} is not {want}")
    expect(abs(last["eval_perplexity"] - math.exp(want)) <= 1e-2, "perplexity")
    return f"{last['eval_loss']:.7f}, within {abs(last['eval_loss'] - want):.1e}"


def the_same_in_every_layout(binary, scratch):
    losses = {}
    for name, (ranks, changes) in LAYOUTS.items():
        folder, _ = fresh(scratch, "layouts")
        lines, _ = trained(binary, folder, ranks, config_of(folder, steps=2, **changes))
        expect(len(lines) == 1, f"{name}: {lines}")
        losses[name] = lines[0]["eval_loss"]
    apart = max(losses.values()) - min(losses.values())
    expect(apart <= SAME_LOSS, f"{losses}")
    return f"{len(losses)} layouts within {apart:.1e}"


def the_command_says_what_the_run_said(binary, scratch):
    folder, rows = fresh(scratch, "command")
    lines, _ = trained(binary, folder, 1, config_of(folder))
    want_base, _ = python_loss(folder, rows)
    for ranks, flags in (
        (1, []),
        (2, ["--set", "parallel.pipeline=2"]),
        (2, ["--set", "parallel.zero_stage=3"]),
        (1, ["--set", "memory.base_weights=disk", f"--adapter={folder / 'out' / 'adapter'}"]),
    ):
        base, adapter = evaluated(binary, folder, ranks, *flags)
        expect(base["name"] == "base", f"{base}")
        expect(adapter["name"] == str(folder / "out" / "adapter"), f"{adapter}")
        expect(abs(base["loss"] - want_base) <= SAME_LOSS, f"{flags}: {base}, not {want_base}")
        expect(abs(adapter["loss"] - lines[-1]["eval_loss"]) <= SAME_LOSS, f"{flags}: {adapter}")
    several = evaluated(
        binary, folder, 1, *[f"--adapter={folder / name}" for name in ("adapter_init", "out/adapter")]
    )
    expect(len(several) == 3, f"{several}")
    shutil.rmtree(folder / "out")
    expect(len(evaluated(binary, folder, 1)) == 1, "without a result there is the base alone")
    other = evaluated(binary, folder, 1, f"--input={folder / 'rows.jsonl'}")
    expect(other[0]["target_tokens"] != base["target_tokens"], "--input")
    flags = [f"--model={folder / 'model'}", f"--input={folder / 'held_out.jsonl'}", "data.sequence_len=48"]
    alone = harness.run_or_fail(binary, 1, ["eval", *flags, "--json", "device=cpu", "precision.compute=fp32"])
    (alone,) = json.loads(alone.stdout)
    expect(abs(alone["loss"] - want_base) <= SAME_LOSS, f"without a config: {alone}, not {want_base}")
    return f"base {want_base:.4f}, adapter {adapter['loss']:.4f}"


def overfitting(folder, **train):
    """A run that learns its few rows and nothing else: held-out loss rises after a while."""
    config = config_of(folder, steps=40, every=4, train=train)
    config["optimizer"]["learning_rate"] = 3e-2
    config["schedule"] = {"name": "constant", "warmup_steps": 0}
    return config


def the_best_is_the_result(binary, scratch):
    folder, _ = fresh(scratch, "best")
    config = overfitting(folder, load_best_model_at_end=True, save_steps=20, save_total_limit=1)
    lines, said = trained(binary, folder, 2, config)
    best = min(lines, key=lambda line: line["eval_loss"])
    expect(best["step"] < 40, f"the last evaluation is the best: {lines}")
    expect(f"the result is that of step {best['step']}," in said, said[-600:])
    steps = sorted(path.name for path in (folder / "out" / "checkpoints").glob("step-*"))
    expect(steps == sorted({f"step-{best['step']}", "step-40"}), f"kept {steps}")
    result = evaluated(binary, folder, 1)[1]
    expect(abs(result["loss"] - best["eval_loss"]) <= SAME_LOSS, f"{result}, not {best}")
    return f"step {best['step']}: {best['eval_loss']:.4f}, the last {lines[-1]['eval_loss']:.4f}"


def patience_ends_a_run(binary, scratch):
    folder, _ = fresh(scratch, "patience")
    config = overfitting(folder, early_stopping_patience=2)
    lines, said = trained(binary, folder, 1, config)
    best = min(lines, key=lambda line: line["eval_loss"])
    expect(lines[-1]["step"] == best["step"] + 8 < 40, f"{lines}")
    expect("stopped    early: 2 evaluations in a row" in said, said[-600:])
    expect(json.loads((folder / "out/run_status.json").read_text())["state"] == "done", "its state")
    expect((folder / "out" / "adapter" / "adapter_model.safetensors").exists(), "no result")
    config["train"]["resume"] = "auto"
    said = trained(binary, folder, 1, config)[1]
    expect(f"this run is done, its {lines[-1]['step']} steps made" in said, said[-600:])
    return f"after step {lines[-1]['step']} of 40"


def the_best_of_another_folder_is_the_result(binary, scratch):
    """A run that goes on elsewhere, is stopped there and goes on again, learns nothing better."""
    folder, _ = fresh(scratch, "elsewhere")
    config = overfitting(folder, load_best_model_at_end=True, save_steps=20)
    lines, _ = trained(binary, folder, 1, config)
    best = min(lines, key=lambda line: line["eval_loss"])
    expect(best["step"] <= 20, f"{best} is not after the step that is gone on from")
    result = (folder / "out" / "adapter" / "adapter_model.safetensors").read_bytes()
    (folder / "out").rename(folder / "first")
    (folder / "out").mkdir()
    (folder / "out" / "STOP").touch()
    config["train"]["resume"] = str(folder / "first" / "checkpoints" / "step-20") + "/"
    path = harness.write_config(folder, config)
    stopped = harness.mpirun(binary, 1, ["train", f"--config={path}"], 120)
    expect(stopped.returncode == 75, f"exit {stopped.returncode}: {stopped.stderr[-300:]}")
    config["train"]["resume"] = "auto"
    _, said = trained(binary, folder, 1, config)
    expect("after step 21" in said, said[-600:])
    expect(f"the result is that of step {best['step']}," in said, said[-600:])
    again = (folder / "out" / "adapter" / "adapter_model.safetensors").read_bytes()
    expect(again == result, "another result than that of the run that was not stopped")
    return f"step {best['step']} of the first folder"


def what_is_held_out_may_move_but_not_change(binary, scratch):
    """Between a stop and the start after it; where evaluations decide the result."""
    folder, rows = fresh(scratch, "moved")
    config = overfitting(folder, load_best_model_at_end=True, resume="auto")
    config["train"]["gradient_accumulation_steps"] = 4
    path = harness.write_config(folder, config)
    (folder / "out").mkdir()
    (folder / "out" / "STOP").touch()
    stopped = harness.mpirun(binary, 1, ["train", f"--config={path}"], 120)
    expect(stopped.returncode == 75, f"exit {stopped.returncode}: {stopped.stderr[-300:]}")
    tiny_models.write_rows(folder / "elsewhere.jsonl", rows)
    tiny_models.write_rows(folder / "held_out.jsonl", rows[:3])
    changed = harness.mpirun(binary, 1, ["train", f"--config={path}"], 120)
    expect(changed.returncode == 64, f"exit {changed.returncode}: {changed.stderr[-300:]}")
    expect("what the rows of data.eval become is another" in changed.stderr, changed.stderr[-400:])
    config["data"]["eval"][0]["path"] = str(folder / "elsewhere.jsonl")
    path = harness.write_config(folder, config)
    harness.run_or_fail(binary, 1, ["train", f"--config={path}"])
    return "another path goes on, other rows are refused"


def a_stop_does_not_wait_for_an_evaluation(binary, scratch):
    """But for one that decides what the run leaves."""
    for keeps_best in (False, True):
        folder, _ = fresh(scratch, "stopped")
        config = config_of(folder, steps=6, every=1)
        config["train"].update({"gradient_accumulation_steps": 2, "load_best_model_at_end": keeps_best})
        path = harness.write_config(folder, config)
        (folder / "out").mkdir()
        (folder / "out" / "STOP").touch()
        stopped = harness.mpirun(binary, 2, ["train", f"--config={path}"], 120)
        expect(stopped.returncode == 75, f"exit {stopped.returncode}: {stopped.stderr[-300:]}")
        given_up = "the evaluation after step 1 is given up" in stopped.stdout
        lines = (folder / "out/metrics.jsonl").read_text()
        expect(given_up != keeps_best and ("eval_loss" in lines) == keeps_best, stopped.stdout[-600:])
    return "given up, unless it is of the best"


def check_takes_such_a_run(binary, scratch):
    folder, _ = fresh(scratch, "check")
    config = config_of(folder)
    config["train"]["gradient_accumulation_steps"] = 2
    path = harness.write_config(folder, config)
    done = harness.run_or_fail(binary, 2, ["check", f"--config={path}", "--accept=tokenizer", "--json"])
    report = json.loads(done.stdout)
    expect(report["passed"], f"{report}")
    return f"{len(report['stages'])} stages"


def longer_rows_than_are_learnt(binary, scratch):
    """Of which an evaluation needs more memory than a step: refused before weights are read."""
    folder, _ = fresh(scratch, "longer")
    tiny_models.write_rows(
        folder / "rows.jsonl", [{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}] * 8
    )
    long = list(range(3, 250)) * 4
    tiny_models.write_rows(folder / "held_out.jsonl", [{"input_ids": long, "labels": long}] * 8)
    config = config_of(folder, memory={"limit": 0.003})
    config["data"]["sequence_len"] = 256
    config["train"].update({"micro_batch_size": 4, "gradient_accumulation_steps": 1})
    held_out = config["data"].pop("eval")
    del config["train"]["eval_steps"]
    path = harness.write_config(folder, config)
    harness.run_or_fail(binary, 1, ["train", f"--config={path}"])
    config["data"]["eval"] = held_out
    path = harness.write_config(folder, config)
    done = harness.mpirun(binary, 1, ["train", f"--config={path}"], 120)
    expect(done.returncode == 64, f"exit {done.returncode}: {done.stderr[-400:]}")
    expect("the run does not fit" in done.stderr, done.stderr[:400])
    return "told before it starts"


def samples_are_what_generate_says(binary, scratch):
    """Answers after each evaluation, in every layout; the last are those of the result."""
    prompts = [{"prompt": "Hi"}, {"messages": [{"role": "user", "content": "So?"}]}, {"prompt": "a b c"}]
    first = None
    for name in ("one rank", "weights on disk", "dp 2, ZeRO 3", "tp 2, sequence parallel", "pp 2, tp 2"):
        ranks, changes = LAYOUTS[name]
        folder, _ = fresh(scratch, "samples")
        asked = folder / "prompts.jsonl"
        tiny_models.write_rows(asked, prompts)
        config = config_of(folder, steps=4, **changes)
        config["train"].update({"sample_prompts": str(asked), "sample_max_new_tokens": 9})
        _, said = trained(binary, folder, ranks, config)
        rows = [json.loads(line) for line in (folder / "out/samples.jsonl").read_text().splitlines()]
        expect([(row["step"], row["sample"]) for row in rows] == [(s, i) for s in (2, 4) for i in range(3)], f"{name}: {rows}")
        expect([row["prompt"] for row in rows[:3]] == ["Hi", "So?", "a b c"], f"{name}: {rows}")
        expect("said 4/4  " in said, said[-900:])
        page = (folder / "out/report.html").read_text()
        expect("Answers to the same prompts" in page, "the page")
        answers = [row["answer"] for row in rows]
        first = first or answers
        expect(answers == first, f"{name}: {answers} is not {first}")
    flags = [f"--config={folder / 'run.yaml'}", f"--prompts={asked}", f"--output={folder / 'answers.jsonl'}"]
    harness.run_or_fail(binary, 4, ["generate", *flags, "--max_new_tokens=9"])
    texts = [json.loads(line)["text"] for line in (folder / "answers.jsonl").read_text().splitlines()]
    expect(texts == answers[3:], f"{texts} is not {answers[3:]}")
    planned = {}
    config["data"]["sequence_len"] = 16  # of which steps keep less than answers
    for tokens in (9, 200):
        config["train"]["sample_max_new_tokens"] = tokens
        path = harness.write_config(folder, config)
        done = harness.run_or_fail(binary, 1, ["plan", f"--config={path}", "--ranks=4", "--json"])
        planned[tokens] = json.loads(done.stdout)
        expect("notes" not in planned[tokens], f"{planned[tokens].get('notes')}")
    cached = [planned[tokens]["ranks"][0]["peak"]["saved"] for tokens in planned]
    expect(cached[0] < cached[1], f"kept keys and values are not planned: {cached}")
    for wrong, code, word in (
        ({"sample_prompts": str(folder / "none.jsonl")}, 66, "none.jsonl"),
        ({"sample_prompts": str(asked), "sample_max_new_tokens": 4000}, 65, "train.sample_max_new_tokens"),
    ):
        config["train"].update(wrong)
        path = harness.write_config(folder, config)
        done = harness.mpirun(binary, 4, ["train", f"--config={path}", "train.resume=never"], 60)
        expect(done.returncode == code and word in done.stderr, f"{wrong}: {done.returncode} {done.stderr}")
    return f"{answers[-1]!r} in 5 layouts"


def a_share_is_never_learnt(binary, scratch):
    """All but one of the rows held out: after many steps that one is known and the others are not."""
    folder, rows = fresh(scratch, "share")
    tiny_models.write_rows(folder / "rows.jsonl", rows)
    config = overfitting(folder)
    del config["data"]["eval"]
    config["data"]["eval_fraction"] = 0.9
    config["data"]["train"][0]["format"] = "tokens"
    lines, said = trained(binary, folder, 2, config)
    expect("held out   10 examples" in said, said[:1500])
    metrics = [json.loads(x) for x in (folder / "out/metrics.jsonl").read_text().splitlines()]
    learnt = [line["loss"] for line in metrics if "loss" in line][-1]
    expect(lines[-1]["eval_loss"] > learnt + 1, f"learnt {learnt}, held out {lines[-1]}")
    again = evaluated(binary, folder, 1)[1]
    expect(abs(again["loss"] - lines[-1]["eval_loss"]) <= SAME_LOSS, f"{again}, not {lines[-1]}")
    return f"learnt {learnt:.3f}, held out {lines[-1]['eval_loss']:.3f}"


CHECKS = [
    ("the loss is transformers' and PEFT's", equals_transformers),
    ("it is the same in every layout", the_same_in_every_layout),
    ("fttrain eval says what the run said", the_command_says_what_the_run_said),
    ("the best evaluation is the result", the_best_is_the_result),
    ("the best of the folder that is gone on from", the_best_of_another_folder_is_the_result),
    ("patience ends a run", patience_ends_a_run),
    ("a share is held out and never learnt", a_share_is_never_learnt),
    ("samples are what generate says", samples_are_what_generate_says),
    ("what is held out may move but not change", what_is_held_out_may_move_but_not_change),
    ("a stop does not wait for an evaluation", a_stop_does_not_wait_for_an_evaluation),
    ("fttrain check takes such a run", check_takes_such_a_run),
    ("longer rows than are learnt are planned for", longer_rows_than_are_learnt),
]


def main():
    binary = Path(sys.argv[1])
    torch.set_num_threads(1)
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        harness.run_checks([(name, partial(check, binary, folder)) for name, check in CHECKS])


if __name__ == "__main__":
    main()
