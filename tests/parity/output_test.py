#!/usr/bin/env python3
"""output_test.py BINARY: a run's two ends: what it finds in its output folder and who started it,
and the last step of its epochs.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import harness
import tiny_models

LIMIT_SECONDS = 30
USAGE, DATA, MISSING, LOCKED, DISAGREE = 64, 65, 66, 73, 76
CASE = "llama_grouped"


def prepare(scratch, steps=2):
    folder = Path(scratch) / "case"
    shutil.rmtree(folder, ignore_errors=True)
    tiny_models.write_case(CASE, folder)
    return folder, harness.run_config(folder, harness.load_golden(), "lora", steps)


def arguments(folder, config):
    return ["train", f"--config={harness.write_config(folder, config)}"]


def contents(folder):
    """Every file below, with its bytes."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def refused(done, code, *words):
    if done.returncode != code:
        raise harness.Failure(f"exit {done.returncode}, {code} expected: {done.stderr[:500]}")
    for word in words:
        if word not in done.stderr:
            raise harness.Failure(f"'{done.stderr[:500]}' does not say '{word}'")
    return next(line for line in done.stderr.splitlines() if words[0] in line)


def earlier_result_stays(binary, scratch):
    """A run that fails while it reads weights leaves the folder as it was; the next one keeps it."""
    folder, config = prepare(scratch)
    output = Path(config["output_dir"])
    harness.train(binary, folder, 2, config)
    good = contents(output)
    shard = folder / "model" / "model-00002-of-00003.safetensors"
    shard.rename(folder / "elsewhere")
    failed = harness.mpirun(binary, 2, arguments(folder, config), LIMIT_SECONDS)
    said = refused(failed, MISSING, shard.name)
    if contents(output) != good:
        raise harness.Failure(f"{sorted(contents(output))} there, {sorted(good)} expected")
    (folder / "elsewhere").rename(shard)
    harness.train(binary, folder, 2, config)
    if contents(output / "previous-1") != good:
        raise harness.Failure("the earlier result is not in previous-1")
    return said


def one_run_at_a_time(binary, scratch):
    folder, config = prepare(scratch, steps=1000000)
    output = Path(config["output_dir"])
    environment = {**os.environ, **harness.MPI_ENVIRONMENT}
    first = subprocess.Popen(
        ["mpirun", "-np", "1", str(binary), *arguments(folder, config)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + LIMIT_SECONDS
        while not (output / "metrics.jsonl").exists():
            if first.poll() is not None or time.monotonic() > end:
                raise harness.Failure("the first run does not train")
            time.sleep(0.05)
        second = harness.mpirun(binary, 1, arguments(folder, config), LIMIT_SECONDS)
        said = refused(second, LOCKED, "another run writes there", str(output))
        if first.poll() is not None or (output / "previous-1").exists():
            raise harness.Failure("the second run disturbed the first")
    finally:
        first.terminate()
        first.wait()
    config["train"]["max_steps"] = 2
    harness.train(binary, folder, 1, config)
    return said


def ranks_disagree(binary, scratch):
    """Two ranks with two configs, and with two versions of a data file."""
    folder, config = prepare(scratch)
    (folder / "other.jsonl").write_bytes((folder / "rows.jsonl").read_bytes()[:-300].rpartition(b"\n")[0])
    first = ["train", f"--config={harness.write_config(folder, config)}", "--set"]
    said = []
    for setting, words in (
        ("train.seed=6", "train.seed: 5 on rank 0; 6 on rank 1"),
        ("train.save_steps=3", "train.save_steps: 0 on rank 0; 3 on rank 1"),
        (f"data.train.0.path={folder / 'other.jsonl'}", "data.train[0]: "),
    ):
        done = harness.mpirun(
            binary, 1, [*first, "train.log_steps=1"], LIMIT_SECONDS, one_more=[*first, setting]
        )
        said.append(refused(done, DISAGREE, "ranks read different files or settings", words))
    return said[0]


def foreign_launcher(binary, scratch):
    """As torchrun starts it: two processes that MPI knows nothing of."""
    folder, config = prepare(scratch)
    processes = [
        subprocess.Popen(
            [str(binary), *arguments(folder, config)],
            env={**os.environ, **harness.MPI_ENVIRONMENT, "WORLD_SIZE": "2", "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, process.stderr = process.communicate(timeout=LIMIT_SECONDS)
        said = refused(process, USAGE, "WORLD_SIZE is 2", "'mpirun -np 2 fttrain")
    if Path(config["output_dir"]).exists():
        raise harness.Failure("the output folder was made")
    return said


def last_step(binary, scratch, ranks, rows, epochs, **parallel):
    """Epochs that end in a step: it has the rows that are left, and its loss is theirs."""
    folder, config = prepare(scratch)
    made = tiny_models.token_rows(CASE)[:rows]
    tiny_models.write_rows(folder / "rows.jsonl", made)
    del config["train"]["max_steps"]
    config["train"]["num_epochs"] = epochs
    config["parallel"] = parallel
    per_step = 4 * ranks // (parallel.get("tensor", 1) * parallel.get("pipeline", 1))
    left = rows * epochs % per_step
    done = harness.run_or_fail(binary, ranks, arguments(folder, config))
    told = f"the last has the {left} row"
    if told not in done.stdout:
        raise harness.Failure(f"'{told}' is not in the summary")
    lines = (Path(config["output_dir"]) / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    want = made[rows - left :]
    tokens = sum(len(row["input_ids"]) for row in want)
    targets = sum(label >= 0 for row in want for label in row["labels"][1:])
    got = (len(metrics), metrics[-1]["tokens"], metrics[-1]["target_tokens"])
    expected = (-(-rows * epochs // per_step), tokens, targets)
    if got != expected:
        raise harness.Failure(f"(steps, tokens, targets) {got}, {expected} expected")
    if sum(m["tokens"] for m in metrics) != epochs * sum(len(row["input_ids"]) for row in made):
        raise harness.Failure("the run has not learnt each row once an epoch")
    return f"{got[0]} steps, {left} of {per_step} rows in the last, loss {metrics[-1]['loss']:.9f}"


def resuming(folder, config, steps, **train):
    """The run with so many steps, a checkpoint every second one, that goes on by itself."""
    config["train"].update(max_steps=steps, save_steps=2, resume="auto", **train)
    config["schedule"] = {"name": "constant"}
    return arguments(folder, config)


def finished_run(binary, scratch, save_steps):
    """The same command again trains nothing and says so; more steps go on where it ended."""
    folder, config = prepare(scratch)
    config["train"].update(resume="auto", save_steps=save_steps)
    output = Path(config["output_dir"])
    harness.train(binary, folder, 2, config)
    good = contents(output)
    again = harness.run_or_fail(binary, 2, arguments(folder, config))
    said = next(line for line in again.stdout.splitlines() if line.startswith("finished"))
    if contents(output) != good:
        raise harness.Failure("the folder has changed")
    config["optimizer"]["weight_decay"] = 0.25
    if save_steps:
        refused(
            harness.mpirun(binary, 2, arguments(folder, config), LIMIT_SECONDS),
            USAGE,
            "is of another run: optimizer.weight_decay was ",
            "train.allow_changed: [optimizer.weight_decay]",
        )
        config["train"]["resume"] = "never"
    harness.train(binary, folder, 2, config)
    if contents(output / "previous-1") != good:
        raise harness.Failure(f"in previous-1: {sorted(contents(output / 'previous-1'))}")
    return said


def killed_at_its_end(binary, scratch):
    """A run that ended between its last checkpoint and its result writes that, and trains nothing."""
    folder, config = prepare(scratch)
    config["train"].update(resume="auto", save_steps=1)
    output = Path(config["output_dir"])
    harness.train(binary, folder, 2, config)
    adapter, metrics = contents(output / "adapter"), (output / "metrics.jsonl").read_bytes()
    for file in (output / "adapter").iterdir():
        file.unlink()
    status = output / "run_status.json"
    status.write_text(status.read_text().replace('"done"', '"running"').replace('"exit_code": 0', '"exit_code": null'))
    again = harness.run_or_fail(binary, 2, arguments(folder, config))
    if contents(output / "adapter") != adapter:
        raise harness.Failure(f"in adapter/: {sorted(contents(output / 'adapter'))}")
    if (output / "metrics.jsonl").read_bytes() != metrics:
        raise harness.Failure("it has trained again")
    return next(line for line in again.stdout.splitlines() if line.startswith("saved"))


def another_beginning(binary, scratch):
    """A run that goes on from an adapter is another one once that adapter is."""
    folder, config = prepare(scratch)
    output, first = Path(config["output_dir"]), folder / "first"
    harness.train(binary, folder, 1, config)
    (output / "adapter").rename(first)
    config["adapter"]["init_from"] = str(first)
    config["train"].update(resume="auto", save_steps=1)
    harness.run_or_fail(binary, 1, arguments(folder, config))
    weights = first / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x3c")
    refused_words = ("is of another run: the files of adapter.init_from are others", "[adapter.init_from]")
    done = harness.mpirun(binary, 1, arguments(folder, config), LIMIT_SECONDS)
    return refused(done, USAGE, *refused_words)


def longer_run(binary, scratch):
    """A finished run with more steps goes on, as if it had had them from the start."""
    folder, config = prepare(scratch)
    output = Path(config["output_dir"])
    losses = lambda: [json.loads(l)["loss"] for l in (output / "metrics.jsonl").open()]
    harness.run_or_fail(binary, 2, resuming(folder, config, steps=5))
    refused(
        harness.mpirun(binary, 2, resuming(folder, config, steps=9), LIMIT_SECONDS),
        USAGE,
        "train.max_steps was 5, is 9",
    )
    more = resuming(folder, config, steps=9, allow_changed=["train.max_steps"])
    done = harness.run_or_fail(binary, 2, more)
    said = next(line for line in done.stdout.splitlines() if line.startswith("resumed"))
    got = losses()
    shutil.rmtree(output)
    harness.run_or_fail(binary, 2, resuming(folder, config, steps=9))
    if got != losses():
        raise harness.Failure(f"losses {got}, {losses()} at once")
    return said


def all_damaged(binary, scratch):
    """Where nothing that was saved can be used the run does not begin anew by itself."""
    folder, config = prepare(scratch)
    output = Path(config["output_dir"])
    harness.run_or_fail(binary, 2, resuming(folder, config, steps=4))
    for manifest in output.glob("checkpoints/step-*/manifest.json"):
        manifest.write_text(manifest.read_text().replace("exp_avg", "exp_avh", 1))
    again = harness.mpirun(binary, 2, resuming(folder, config, steps=4), LIMIT_SECONDS)
    return refused(again, DATA, "no checkpoint of", "begin anew with train.resume: never")


def peft_loads_a_checkpoint(binary, scratch):
    """What a checkpoint's folder holds of an adapter is what the result's holds."""
    folder, config = prepare(scratch)
    output = Path(config["output_dir"])
    harness.run_or_fail(binary, 2, resuming(folder, config, steps=4))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if (output / "adapter" / name).read_bytes() != (
            output / "checkpoints/step-4" / name
        ).read_bytes():
            raise harness.Failure(f"{name} differs")
    return "the last checkpoint's adapter is the result's"


def main():
    binary = Path(sys.argv[1])
    with harness.scratch_folder() as scratch:
        run = lambda check, *a, **k: lambda: check(binary, scratch, *a, **k)
        harness.run_checks(
            [
                ("a run that fails early leaves the earlier result", run(earlier_result_stays)),
                ("a folder in which a run trains", run(one_run_at_a_time)),
                ("a finished run, saved at its end", run(finished_run, 0)),
                ("a finished run with checkpoints", run(finished_run, 1)),
                ("a run killed before its result", run(killed_at_its_end)),
                ("a run from an adapter that changed", run(another_beginning)),
                ("a finished run with more steps", run(longer_run)),
                ("checkpoints that are all damaged", run(all_damaged)),
                ("a checkpoint's adapter", run(peft_loads_a_checkpoint)),
                ("ranks that disagree", run(ranks_disagree)),
                ("two processes of another launcher", run(foreign_launcher)),
                ("epochs that end in a step, one rank", run(last_step, 1, 9, 1)),
                ("epochs that end in a step, two replicas", run(last_step, 2, 9, 1, zero_stage=2)),
                ("epochs that end in a step, a pipeline", run(last_step, 2, 9, 2, pipeline=2)),
                ("epochs that end in a step, tensor parallel", run(last_step, 2, 9, 1, tensor=2)),
            ]
        )


if __name__ == "__main__":
    main()
