#!/usr/bin/env python3
"""plan_test.py BINARY: what `fttrain plan` says before anything is there is what a run then measures, to the byte, and
a run that does not fit ends before it reads a weight."""

import json
import re
import sys
from pathlib import Path

import harness
import tiny_models

TOKENS = 40  # of a row

# (ranks, method, keys)
RUNS = [
    (1, "lora", {}),
    (1, "full", {"optimizer": {"state": "int8"}}),
    (1, "lora", {"memory": {"recompute": "full", "activations": "host", "base_weights": "host"}}),
    (2, "lora", {"parallel": {"tensor": 2, "sequence_parallel": True}}),
    (2, "full", {"parallel": {"pipeline": 2}}),
    (2, "qlora", {"parallel": {"zero_stage": 3}, "memory": {"recompute": "smart"}}),
    (4, "lora", {"parallel": {"tensor": 2, "pipeline": 2}, "precision": {"compute": "bf16"}}),
]


def full_rows(folder):
    """As many rows of TOKENS tokens, all learnt, as two steps take."""
    ids = [5 + i % 400 for i in range(TOKENS)]
    tiny_models.write_rows(folder / "rows.jsonl", [{"input_ids": ids, "labels": ids}] * 16)


def prepare(folder, method, keys):
    tiny_models.write_case("llama_grouped", folder)
    full_rows(folder)
    config = harness.run_config(folder, harness.load_golden(), method, 2, **keys)
    config["data"]["sequence_len"] = TOKENS
    return config


def plan(binary, folder, config, ranks, *flags):
    path = harness.write_config(folder, config)
    done = harness.run_or_fail(binary, 1, ["plan", f"--config={path}", f"--ranks={ranks}", "--json", *flags])
    return json.loads(done.stdout)


def is_foretold(binary, ranks, method, keys):
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        config = prepare(folder, method, keys)
        planned = plan(binary, folder, config, ranks)["ranks"]
        if Path(config["output_dir"]).exists():
            raise harness.Failure("planning made the output folder")
        harness.train(binary, folder, ranks, config)
        measured = json.loads((Path(config["output_dir"]) / "memory.json").read_text())["ranks"]
    if len(measured) != ranks:
        raise harness.Failure(f"{len(measured)} ranks measured, {ranks} trained")
    for before, after in zip(planned, measured):
        for key, value in after.items():
            if before[key] != value:
                raise harness.Failure(f"rank {after['rank']}, {key}: planned {before[key]}, measured {value}")
    return f"{planned[0]['tracked_peak']:,} bytes on rank 0"


def refuses(binary):
    """Too small a limit by a byte; one that suffices suffices."""
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        config = prepare(folder, "lora", {"parallel": {"tensor": 2}})
        most = max(rank["tracked_peak"] for rank in plan(binary, folder, config, 2)["ranks"])
        config["memory"] = {"limit": most / 2**30}
        harness.train(binary, folder, 2, config)
        config["memory"] = {"limit": (most - 1) / 2**30}
        config["output_dir"] = str(folder / "never")
        done = harness.mpirun(binary, 2, ["train", f"--config={harness.write_config(folder, config)}"], 60)
        began = (folder / "never" / "metrics.jsonl").exists()
    said = done.stderr
    if began:
        raise harness.Failure("it began")
    if done.returncode != 64:
        raise harness.Failure(f"exit {done.returncode}: {said}")
    want = r"the run does not fit: [\d,]+ bytes are needed \(.*weights .* are memory\.limit: .*this makes it fit: (memory|optimizer)\.\w+=\w+ \("
    if not re.search(want, said):
        raise harness.Failure(f"'{said}' does not say /{want}/")
    return "exit 64 of what is a byte too little"


def tells(binary):
    """Text: a line for ranks that are alike, what is left, or what would help."""
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        config = prepare(folder, "lora", {"parallel": {"tensor": 2}})
        path = harness.write_config(folder, config)
        for memory, want in [("1", r"ranks 0-1 .*fits, 0\.\d\d left"),
                             ("0.0001", r"ranks 0-1 .*does not fit, .* too much(.|\n)*no key of memory helps")]:
            said = harness.run_or_fail(
                binary, 1, ["plan", str(path), f"--memory={memory}", "device=cuda", "precision.compute=bf16"]).stdout
            if not re.search(want, said):
                raise harness.Failure(f"'{said}' does not say /{want}/")
    return "fits and does not"


def said(binary, *arguments):
    return harness.run_or_fail(binary, 1, ["plan", *arguments]).stdout


def searches(binary):
    """The best layouts of a shape without files, as a text, as JSON and as a page; pasted keys are what was planned."""
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        flags = ["--rig=2x4090", "--model=Llama-3.2-1B-Instruct", "--method=lora", "--sequence_len=512", "--r=8"]
        text = said(binary, *flags, f"--html={folder / 'plan.html'}")
        for want in [r"plan       llama-3\.2-1b \(shape from the table; no folder was read\) on 2 x RTX 4090; lora r 8, rows of 512",
                     r"0\.50 of each are left to a desktop", r"\n 1  \S+ 2", r"why        .* is the fastest that fits",
                     r"longest    rows that fit in the first layout: [\d,]+ tokens", r"\ntrain: \{micro_batch_size: \d+", r"tokens a second, predicted for"]:
            if not re.search(want, text):
                raise harness.Failure(f"'{text}' does not say /{want}/")
        if "\x1b" in text:
            raise harness.Failure("colours in a pipe")
        page = (folder / "plan.html").read_text()
        if "<svg" not in page or "<script" in page or "http" in page:
            raise harness.Failure("the page has no chart, or is not self-contained")
        found = json.loads(said(binary, *flags, "--json"))
        best = found["layouts"][0]
        rates = [layout["tokens_per_second"] for layout in found["layouts"]]
        if not found["shape_from_table"] or best["needed"] + best["left"] > 24 * 2**30 or max(rates) > 1.1 * rates[0]:
            raise harness.Failure(f"{best}, {rates}")
        keys = [f"{key}={value}" for key, value in best["keys"].items()]
        again = json.loads(said(binary, *flags, "--json", *keys))
        if again["layouts"][0]["keys"] != best["keys"] or again["layouts"][0]["needed"] != best["needed"]:
            raise harness.Failure(f"{again['layouts'][0]} is not {best}")
        some = said(binary, "--rig=3x4090", *flags[1:], "parallel.tensor=2")
        if not re.search(r"why        .*cards 0, 1 of 3 x RTX 4090 alone .*; no layout of 3 x RTX 4090 is left with the keys that are kept: parallel.tensor\n", some):
            raise harness.Failure(f"'{some}' does not say why one card is left out")
    return f"{best['layout']}, {best['tokens_per_second']:,.0f} tokens/s"


def times(binary):
    """A config's own layout on a rig; without one the time is not told."""
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        config = prepare(folder, "lora", {"parallel": {"tensor": 2}, "device": "auto", "precision": {"compute": "bf16"}})
        path = str(harness.write_config(folder, config))
        told = json.loads(said(binary, path, "--rig=2x3090", "--json"))
        shares = told["shares"]
        if not told["seconds_per_step"] > 0 or not 0.99 < sum(shares.values()) < 1.01 or shares["communication"] <= 0:
            raise harness.Failure(f"{told}")
        for flags, want in [(["--rig=2x3090"], r"time       .* s a step, .* predicted for 2 x RTX 3090; bound by "),
                            ([], r"time       is not told for want of a rig: --rig=")]:
            text = said(binary, path, *flags)
            if not re.search(want, text):
                raise harness.Failure(f"'{text}' does not say /{want}/")
    return f"{told['tokens_per_second']:,.0f} tokens/s"


def expert_ranks(binary):
    """Without ranks it is for as many as the layout of the file must have; so is what `data` says."""
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        tiny_models.write_case("mixtral", folder)
        config = harness.run_config(folder, harness.load_golden(), "full", 3, parallel={"expert": 2})
        path = str(harness.write_config(folder, config))
        ranks = json.loads(said(binary, path, "--json"))["ranks"]
        done = harness.mpirun(binary, 1, ["data", path, "--json"], 60)
        if len(ranks) != 2 or done.returncode != 0:
            raise harness.Failure(f"{len(ranks)} ranks; data: exit {done.returncode}: {done.stderr[-300:]}")
    return f"{len(ranks)} ranks"


def hosts(binary):
    """What ranks keep in their host's memory, beside what a rig's hosts have."""
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        keys = {"memory": {"base_weights": "host"}, "device": "auto", "precision": {"compute": "bf16"}, "parallel": {"zero_stage": 0}}
        path = str(harness.write_config(folder, prepare(folder, "lora", keys)))
        told = json.loads(said(binary, path, "--rig=4x3090/2nodes", "--json"))
        of_ranks = [rank["host"]["tracked_peak"] for rank in told["ranks"]]
        needed = [host["needed"] for host in told["hosts"]]
        if needed != [sum(of_ranks[:2]), sum(of_ranks[2:])] or min(needed) <= 0:
            raise harness.Failure(f"{told['hosts']} of {of_ranks}")
        if not all(host["fits"] and host["room"] == 115200000000 for host in told["hosts"]):
            raise harness.Failure(f"{told['hosts']}")
        text = said(binary, path, "--rig=4x3090/2nodes")
        if not re.search(r"\nhost       0\.\d\d GiB of its memory: fits, 107\.\d\d left", text):
            raise harness.Failure(f"'{text}' does not say what a host needs")
    return f"{needed[0]:,} bytes of each host"


def beside_steps(binary):
    """A checkpoint's copies and what answers to samples keep, counted as they are measured."""
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        config = prepare(folder, "lora", {})
        plain = plan(binary, folder, config, 1)["ranks"][0]
        config["train"]["save_steps"] = 1
        saving = plan(binary, folder, config, 1)["ranks"][0]
        if saving["host"]["tracked_peak"] <= plain["host"]["tracked_peak"]:
            raise harness.Failure(f"{saving['host']}, and without saving {plain['host']}")
        harness.train(binary, folder, 1, config)
        measured = json.loads((Path(config["output_dir"]) / "memory.json").read_text())["ranks"][0]
        if any(measured[key] != saving[key] for key in ("host", "tracked_peak")):
            raise harness.Failure(f"planned {saving}, measured {measured}")
        config["data"]["eval"] = config["data"]["train"]
        config["train"]["sample_prompts"] = str(folder / "none.jsonl")
        noted = plan(binary, folder, config, 1)["notes"]
        if len(noted) != 1 or "train.sample_prompts" not in noted[0] or "none.jsonl" not in noted[0]:
            raise harness.Failure(f"{noted}")
    return f"{saving['host']['tracked_peak']:,} bytes on the host"


def main():
    binary = Path(sys.argv[1])
    checks = [(f"{method} on {ranks} ranks, {keys}", lambda r=(ranks, method, keys): is_foretold(binary, *r))
              for ranks, method, keys in RUNS]
    checks.append(("a run that does not fit", lambda: refuses(binary)))
    checks.append(("what a person reads", lambda: tells(binary)))
    checks.append(("a search on a rig", lambda: searches(binary)))
    checks.append(("how long a step takes", lambda: times(binary)))
    checks.append(("experts that ranks divide", lambda: expert_ranks(binary)))
    checks.append(("what hosts need", lambda: hosts(binary)))
    checks.append(("beside the steps", lambda: beside_steps(binary)))
    harness.run_checks(checks)


if __name__ == "__main__":
    main()
