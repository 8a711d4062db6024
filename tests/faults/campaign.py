#!/usr/bin/env python3
"""campaign.py BINARY [--kills N] [--stops N] [--seed N]: runs that are killed or stopped, and started again.

A run is started by one command, over and over, until it says that it is finished. Meanwhile ranks, mpirun
or all of them are killed at random times (--kills), or the run is asked to stop by signals and files
(--stops: it must leave with 75). What it comes to must be what the same run comes to that nobody touched:
every step's loss and gradient norm, parameters, optimizer state and result, to the last bit; and no restart
may begin before the newest checkpoint that the run had told of. Half of the runs save after every step, so
that most of their kills meet a save. N counts kills that ended a run, and stops that it left with 75.
"""

import argparse
import hashlib
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
KILLS = ["rank", "mpirun", "everything"]
STOPS = ["SIGUSR1", "STOP file", "one rank"]
# Which part of a run is met, and how often of ten.
PARTS = {"start": 2, "steps": 7, "end": 1}


def case(index):
    """Of six in a row each has another layout; of twelve each layout saves after every step and seldom; of 24
    it does so with both methods."""
    ranks, parallel = LAYOUTS[index % 6]
    save_steps = (7, 1)[(index + index // 6) % 2]
    return ranks, parallel, METHODS[(index // 2 + index // 12) % 2], save_steps


class Run:
    """One folder, one command."""

    def __init__(self, binary, folder, ranks, parallel, method, save_steps):
        self.binary, self.ranks, self.folder = binary, ranks, Path(folder)
        self.full = method == "full"
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

    def status(self):
        """run_status.json, or nothing."""
        try:
            return json.loads((self.out / "run_status.json").read_text())
        except FileNotFoundError:
            return {}

    def told(self):
        """The newest checkpoint that the run has told of; 0: none."""
        return self.status().get("checkpoint") or 0

    def had_begun(self):
        """Whether it said what it trains or from where, or trained; before that it may be deaf to signals."""
        return re.search(r"^(model |resumed |step \d)", self.log.read_text(errors="replace"), re.MULTILINE) is not None

    def last_step(self):
        """The last step that it has told since it was started; 0: none."""
        told = re.findall(r"^step (\d+)/", self.log.read_text(errors="replace"), re.MULTILINE)
        return int(told[-1]) if told else 0

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

    def result(self):
        """Digests of all that it leaves to be used. PEFT's config names the base, which lies in this folder."""
        folder, own = self.out / ("model" if self.full else "adapter"), str(self.folder).encode()
        files = {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes().replace(own, b"")).hexdigest()
            for path in folder.rglob("*")
            if path.is_file()
        }
        if not any(name.endswith(".safetensors") for name in files):
            raise harness.Failure(f"no result in {folder}: {sorted(files)}")
        return files


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


def wait_for_step(process, run, step):
    """Whether it runs and has told that step."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if run.last_step() >= step:
            return True
        time.sleep(0.005)
    return False


class Pace:
    """How long the parts of a run take that is left alone."""

    def __init__(self, run, between):
        self.between = between
        times = [time.monotonic()]
        process = run.start()
        for step in (1, STEPS):
            wait_for_step(process, run, step)
            times.append(time.monotonic())
        if end(process) != 0:
            raise harness.Failure(run.log.read_text()[-800:])
        times.append(time.monotonic())
        self.start, steps, self.end = (after - before for before, after in zip(times, times[1:]))
        self.step = steps / (STEPS - 1)

    def wait(self, process, run, draw):
        """Until a random moment of the run. The part that is met: a name of PARTS; nothing: none is to be, or
        it has ended."""
        part, told = draw.choices(list(PARTS), list(PARTS.values()))[0], run.told()
        if told >= STEPS - 1:  # only the result is left to be made
            if part == "steps":
                return None
            time.sleep(draw.uniform(0, self.start + self.end))
        elif part == "start":
            time.sleep(draw.uniform(0, self.start))
        elif part == "end":
            if wait_for_step(process, run, STEPS):
                time.sleep(draw.uniform(0, self.end))
        elif wait_for_step(process, run, draw.randint(told + 1, min(told + self.between, STEPS - 1))):
            time.sleep(draw.uniform(0, self.step))
        if process.poll() is not None:
            return None
        done = run.last_step()
        return "start" if done == 0 else "end" if done >= STEPS else "steps"


def send(number, *processes):
    """Whether any of them was still there."""
    met = False
    for process in processes:
        try:
            os.kill(process, number)
            met = True
        except ProcessLookupError:
            pass
    return met


def kill(process, run, how, draw):
    """What was done: `how` may need what is not there yet. Nothing: all had ended."""
    ranks = ranks_of_group(process.pid)
    if how == "rank" and ranks:
        return how if send(signal.SIGKILL, draw.choice(ranks)) else None
    if how == "everything" and ranks:
        return how if send(signal.SIGKILL, process.pid, *ranks) else None
    return "mpirun" if send(signal.SIGKILL, process.pid) else None


def ask_to_stop(process, run, how, draw):
    """What was done, as `kill` says it."""
    ranks = ranks_of_group(process.pid)
    if how == "STOP file" and run.out.exists():
        (run.out / "STOP").touch()
        return how
    if how == "one rank" and ranks:
        return how if send(signal.SIGUSR1, draw.choice(ranks)) else None
    return "SIGUSR1" if send(signal.SIGUSR1, process.pid) else None


def judge(run, code, stopped):
    """What came of harm: "met", "too early", "too late"; Failure where it ended in no way it may.
    `stopped`: by what it was asked to stop; nothing: something was killed."""
    if stopped is None:
        return "met" if code != 0 else "too late"
    status, mpirun_itself = run.status(), -signal.SIGUSR1
    # mpirun cannot hear either once its ranks have left.
    if code in (0, mpirun_itself) and status.get("state") == "done":
        return "too late"
    # Before there are handlers, which are there before anything is said, a signal ends the program.
    if code in (128 + signal.SIGUSR1, 128 + signal.SIGTERM, mpirun_itself) and not run.had_begun():
        return "too early"
    by = "STOP" if stopped == "STOP file" else "SIGUSR1"
    if code != PREEMPTED or status["stopped_by"] != by or status["checkpoint"] != status["step"]:
        said = f"{status} {run.log.read_text()[-600:]}"
        raise harness.Failure(f"exit {code} of a run that was asked to stop by {stopped}: {said}")
    return "met"


class Campaign:
    """What meets the runs of a scenario, until `number` of it have: kills that end them, or stops."""

    def __init__(self, draw, means, number):
        self.draw, self.means, self.left, self.counts = draw, means, number, Counter()
        self.starts_left = 60 + 8 * number

    def start(self, run, pace):
        """Starts it once, meets it while there is harm left, and judges its end. Whether it is finished."""
        self.starts_left -= 1
        if self.starts_left < 0:
            raise harness.Failure(f"{self.left} are left after all those starts: {dict(self.counts)}")
        process = run.start()
        part = pace.wait(process, run, self.draw) if self.left > 0 else None
        stops = self.means is STOPS
        done = part and (ask_to_stop if stops else kill)(process, run, self.draw.choice(self.means), self.draw)
        code = end(process)
        self.counts["starts"] += 1
        if done is None and code != 0:
            raise harness.Failure(f"exit {code} of a run that nobody touched: {run.log.read_text()[-600:]}")
        if done is not None:
            self.count(run, done, part, judge(run, code, done if stops else None))
        return code == 0

    def count(self, run, done, part, judged):
        if judged != "met":
            self.counts[judged] += 1
            return
        self.left -= 1
        for what in (done, f"in its {part}"):
            self.counts[what] += 1
        self.counts["after a checkpoint"] += run.told() > 0


def finish(run, campaign, pace):
    """Starts the run until it is finished. No start may lose what any before it had told of."""
    told, finished = 0, False
    while not finished:
        finished = campaign.start(run, pace)
        began, now = run.began_from(), run.told()
        if (began is not None and began < told) or now < told:
            said = f"then began from {began} and tells of {now}: {run.log.read_text()[-2500:]}"
            raise harness.Failure(f"told of step {told}, {said}")
        told = now


def scenario(binary, scratch, index, draw, means, number, between):
    """`number` kills or stops of runs in one layout, beside the same run left alone."""
    ranks, parallel, method, save_steps = arguments = case(index)
    straight = Run(binary, Path(scratch) / "straight", *arguments)
    pace = Pace(straight, between)
    campaign = Campaign(draw, means, number)
    while campaign.left > 0:
        harmed = Run(binary, Path(scratch) / "harmed", *arguments)
        finish(harmed, campaign, pace)
        for what in ("metrics", "state", "result"):
            if getattr(harmed, what)() != getattr(straight, what)():
                raise harness.Failure(f"{what} differs from that of the run that was left alone")
        campaign.counts["runs"] += 1
    words = ", ".join(f"{name} {count}" for name, count in sorted(campaign.counts.items()))
    return f"{method} on {ranks} {parallel}, save_steps {save_steps}: {words}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--stops", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenarios", type=int, default=4)
    # A run that goes on from where it was would else spend most of its harm near its end.
    between = "steps at most from where a run began to what meets it: 2 and it is met some twenty times"
    parser.add_argument("--between", type=int, default=12, help=between)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    checks = []
    with harness.scratch_folder() as scratch:
        for what, means, number in (("kills", KILLS, options.kills), ("stops", STOPS, options.stops)):
            for i in range(options.scenarios if number else 0):
                share = number // options.scenarios + (i < number % options.scenarios)
                checks.append(
                    (
                        f"{share} {what}",
                        lambda i=i, means=means, share=share: scenario(
                            options.binary.resolve(), scratch, i + options.seed, draw, means, share, options.between
                        ),
                    )
                )
        harness.run_checks(checks)


if __name__ == "__main__":
    main()
