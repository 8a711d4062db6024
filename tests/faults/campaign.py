#!/usr/bin/env python3
"""campaign.py BINARY [--kills N] [--stops N] [--seed N]: runs that are killed or stopped, and started again.

A run is started by one command, over and over, until it says that it is finished. Meanwhile ranks, mpirun
or all of them are killed at random times (--kills), or the run is asked to stop by signals and files
(--stops: it must leave with 75). What it comes to must be what the same run comes to that nobody touched:
every step's loss and gradient norm, parameters and optimizer state, to the last bit; and no restart may
begin before the newest checkpoint that the run had told of. Half of the runs save after every step, so that
most of their kills meet a save.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "parity"))
import harness  # noqa: E402
import tiny_models  # noqa: E402

STEPS = 40
PREEMPTED = 75
LIMIT_SECONDS = 120
LAYOUTS = [
    (2, {"zero_stage": 1}),
    (2, {"tensor": 2}),
    (2, {"pipeline": 2}),
    (2, {"zero_stage": 3}),
    (4, {"tensor": 2, "pipeline": 2}),
    (4, {"tensor": 2, "zero_stage": 2}),
]
METHODS = ["lora", "full"]


class Run:
    """One folder, one command."""

    def __init__(self, binary, folder, ranks, parallel, method, save_steps):
        self.binary, self.ranks, self.folder = binary, ranks, Path(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        tiny_models.write_case("llama_grouped", self.folder)
        golden = harness.load_golden()
        self.config = harness.run_config(self.folder, golden, method, STEPS, parallel=parallel)
        self.config["train"].update(save_steps=save_steps, save_total_limit=3, resume="auto")
        rows = ranks // (parallel.get("tensor", 1) * parallel.get("pipeline", 1))
        self.config["train"].update(micro_batch_size=1, gradient_accumulation_steps=4 // rows)
        self.out = Path(self.config["output_dir"])
        self.path = harness.write_config(self.folder, self.config)
        self.log = self.folder / "log.txt"

    def start(self, **variables):
        environment = {**os.environ, **harness.MPI_ENVIRONMENT, **variables}
        command = ["mpirun", "-np", str(self.ranks)]
        with open(self.log, "wb") as log:
            return subprocess.Popen(
                [*command, str(self.binary), "train", f"--config={self.path}"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def told(self):
        """The newest checkpoint that the run has told of; 0: none."""
        try:
            return json.loads((self.out / "run_status.json").read_text())["checkpoint"] or 0
        except FileNotFoundError:
            return 0

    def began_from(self):
        """The steps it went on from, of which it says so before its first; None: it did not come so far."""
        text = self.log.read_text(errors="replace")
        found = re.search(r"resumed +from .*, after step (\d+)", text)
        if found:
            return int(found.group(1))
        return 0 if re.search(r"^step \d", text, re.MULTILINE) else None

    def metrics(self):
        rows = map(json.loads, (self.out / "metrics.jsonl").read_text().splitlines())
        return [(row["step"], row["loss"], row["grad_norm"]) for row in rows]

    def state(self):
        """Digests of what the last checkpoint holds: parameters, masters, moments and adapter."""
        manifest = json.loads((self.out / f"checkpoints/step-{STEPS}/manifest.json").read_text())
        files = {f["name"]: f["sha256"] for f in manifest["files"]}
        return {name: digest for name, digest in files.items() if name.endswith(".safetensors")}


def end(process):
    """Its exit code, once nothing of it runs."""
    try:
        code = process.wait(LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise harness.Failure(f"no end within {LIMIT_SECONDS} s") from None
    deadline = time.monotonic() + 20
    while ranks_of_group(process.pid):
        if time.monotonic() > deadline:
            raise harness.Failure("ranks outlive mpirun by 20 s")
        time.sleep(0.02)
    return code


def ranks_of_group(group):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = rest.split()
        if int(fields[2 + 1]) == group and fields[0] != "Z" and "fttrain" in name:
            found.append(int(stat.parent.name))
    return sorted(found)


def kill(process, how, draw):
    ranks = ranks_of_group(process.pid)
    try:
        if how == "rank" and ranks:
            os.kill(draw.choice(ranks), signal.SIGKILL)
        elif how == "everything":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def ask_to_stop(process, how, run, draw):
    ranks = ranks_of_group(process.pid)
    try:
        if how == "STOP file" and run.out.exists():
            (run.out / "STOP").touch()
        elif how == "one rank" and ranks:
            os.kill(draw.choice(ranks), signal.SIGUSR1)
        else:
            os.kill(process.pid, signal.SIGUSR1)
    except ProcessLookupError:
        pass


def finish(run, draw, harm, budget, counts, seconds, asked):
    """Starts the run until it is done. `harm` meets it while `budget` lasts."""
    for _ in range(10 * STEPS):
        told = run.told()
        process = run.start()
        harmed = budget > 0
        if harmed:
            time.sleep(draw.uniform(0, 1.2 * seconds))
            harmed = process.poll() is None
        if harmed:
            budget -= 1
            harm(process)
        code = end(process)
        began = run.began_from()
        if began is not None and began < told:
            raise harness.Failure(f"told of step {told}, began from {began}: {run.log.read_text()[-2500:]}")
        if code == 0:
            return budget
        if not harmed:
            raise harness.Failure(f"exit {code} of a run that nobody touched: {run.log.read_text()[-600:]}")
        if asked and code not in (PREEMPTED, 128 + signal.SIGUSR1, 128 + signal.SIGTERM):
            raise harness.Failure(f"exit {code} of a run that was asked to stop: {run.log.read_text()[-600:]}")
        if asked and code == PREEMPTED:
            counts["left with 75"] += 1
        counts["met by it"] += 1
        counts["of these after a checkpoint"] += run.told() > 0
    raise harness.Failure("it never came to its end")


def scenario(binary, scratch, index, draw, means, number):
    """`number` kills or stops of one run in one layout, beside the same run left alone."""
    ranks, parallel = LAYOUTS[index % len(LAYOUTS)]
    method, save_steps = METHODS[index // 2 % 2], 1 if index % 2 else 7
    arguments = (ranks, parallel, method, save_steps)
    straight = Run(binary, Path(scratch) / "straight", *arguments)
    begun = time.monotonic()
    if end(straight.start()) != 0:
        raise harness.Failure(straight.log.read_text()[-800:])
    seconds = time.monotonic() - begun
    counts = Counter()
    while number > 0:
        harmed = Run(binary, Path(scratch) / "harmed", *arguments)

        def harm(process):
            how = draw.choice(means)
            counts[how] += 1
            if how in ("rank", "mpirun", "everything"):
                kill(process, how, draw)
            else:
                ask_to_stop(process, how, harmed, draw)

        number = finish(harmed, draw, harm, number, counts, seconds, means[0] == "SIGUSR1")
        if harmed.metrics() != straight.metrics():
            raise harness.Failure("losses differ from the run that was left alone")
        if harmed.state() != straight.state():
            raise harness.Failure("state differs from the run that was left alone")
        counts["runs"] += 1
    words = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"{method} on {ranks} {parallel}, save_steps {save_steps}: {words}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--stops", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenarios", type=int, default=4)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    kills = ["rank", "mpirun", "everything"]
    stops = ["SIGUSR1", "STOP file", "one rank"]
    checks = []
    with harness.scratch_folder() as scratch:
        for what, means, number in (("kills", kills, options.kills), ("stops", stops, options.stops)):
            for i in range(options.scenarios if number else 0):
                share = number // options.scenarios + (i < number % options.scenarios)
                checks.append(
                    (
                        f"{share} {what}",
                        lambda i=i, means=means, share=share: scenario(
                            options.binary.resolve(), scratch, i + options.seed, draw, means, share
                        ),
                    )
                )
        harness.run_checks(checks)


if __name__ == "__main__":
    main()
