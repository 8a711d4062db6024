#!/usr/bin/env python3
"""report_test.py BINARY: a run's curves are what TensorBoard's own reader reads, also of a run that
was stopped and went on, and stand in report.html."""

import json
import sys
from functools import partial
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import harness
import tiny_models

CASE, STEPS = "llama_grouped", 8
TAGS = {"loss": "train/loss", "grad_norm": "train/grad_norm", "learning_rate": "train/learning_rate"}
SAME = 1e-6  # of float32


def expect(condition, what):
    if not condition:
        raise harness.Failure(what)


def config_of(folder):
    config = harness.run_config(folder, harness.load_golden(), "lora", STEPS)
    config["data"]["eval_fraction"] = 0.2
    config["train"].update({"eval_steps": 4, "resume": "auto"})
    config["output_dir"] = str(folder / "run")
    return config


def lines_of(folder):
    return [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]


def tensorboard_reads_the_curves(folder):
    events = EventAccumulator(str(folder / "run" / "tensorboard"))
    events.Reload()
    steps = [line for line in lines_of(folder) if "loss" in line]
    for key, tag in TAGS.items():
        got = [(each.step, each.value) for each in events.Scalars(tag)]
        want = [(line["step"], line[key]) for line in steps]
        expect([s for s, _ in got] == [s for s, _ in want], f"{tag}: steps {got}")
        for (_, a), (_, b) in zip(got, want):
            expect(abs(a - b) <= SAME * max(1, abs(b)), f"{tag}: {a} is not {b}")
    got = [(each.step, each.value) for each in events.Scalars("eval/loss")]
    want = [(line["step"], line["eval_loss"]) for line in lines_of(folder) if "eval_loss" in line]
    expect([s for s, _ in got] == [s for s, _ in want] == [4, 8], f"eval/loss: {got}")
    return f"{len(steps)} steps of {len(TAGS)} curves, {len(got)} evaluations"


def whole_run(binary, folder):
    config = harness.write_config(folder, config_of(folder))
    harness.run_or_fail(binary, 2, ["train", f"--config={config}"])
    return tensorboard_reads_the_curves(folder)


def stopped_run(binary, folder):
    """After its first step, whose checkpoint it goes on from."""
    out = folder / "run"
    config = config_of(folder)
    config["train"].update({"resume": "never"})
    path = harness.write_config(folder, config)
    out.joinpath("STOP").touch()
    stopped = harness.mpirun(binary, 2, ["train", f"--config={path}"], 120)
    expect(stopped.returncode == 75, f"exit {stopped.returncode}: {stopped.stderr[-300:]}")
    config["train"].update({"resume": "auto"})
    path = harness.write_config(folder, config)
    harness.run_or_fail(binary, 2, ["train", f"--config={path}"])
    expect(len(list((out / "tensorboard").glob("events*"))) == 2, "a file for each start")
    return tensorboard_reads_the_curves(folder)


def page(binary, folder):
    text = (folder / "run" / "report.html").read_text()
    for part in ("<figcaption>loss", "held out", "it is done", "forward ", "eval_fraction"):
        expect(part in text, f"report.html lacks {part!r}")
    last = [line for line in lines_of(folder) if "loss" in line][-1]
    expect(f"train {last['loss']:.4g}<" in text, "the last loss")
    phases = sum(last["phases"].values())
    expect(0 < phases <= 1.05 * last["seconds"], f"phases {phases} s of {last['seconds']} s")
    return f"{len(text)} bytes"


def main():
    binary = Path(sys.argv[1])
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        tiny_models.write_case(CASE, folder)
        checks = [
            ("TensorBoard reads a run's curves", whole_run),
            ("and those of a run that went on", stopped_run),
            ("report.html has them", page),
        ]
        harness.run_checks([(name, partial(check, binary, folder)) for name, check in checks])


if __name__ == "__main__":
    main()
