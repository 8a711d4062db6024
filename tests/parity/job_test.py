#!/usr/bin/env python3
"""job_test.py BINARY: the end of a job that cannot go on.

A rank that is killed takes the others with it within seconds; ranks that the layout does not fit
are answered with command lines that work.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import harness
import tiny_models

LIMIT_SECONDS = 20
USAGE = 64


def prepare(scratch, steps, **parallel):
    """A fresh folder with a run that works on as many ranks as `parallel` needs."""
    folder = Path(scratch) / "case"
    shutil.rmtree(folder, ignore_errors=True)
    tiny_models.write_case("llama_grouped", folder)
    config = harness.run_config(folder, harness.load_golden(), "lora", steps, parallel=parallel)
    return folder, config


def children(parent):
    """Process ids, ascending: mpirun starts a host's ranks in order."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(after_name[1]) == parent:
            found.append(int(stat.parent.name))
    return sorted(found)


def wait_until(condition, what):
    end = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise harness.Failure(f"not within {LIMIT_SECONDS} s: {what}")
        time.sleep(0.05)


def is_running(process):
    return Path(f"/proc/{process}").exists()


def killed(binary, scratch, ranks, victim, **parallel):
    folder, config = prepare(scratch, 1000000, **parallel)
    command = ["mpirun", "-np", str(ranks), str(binary)]
    job = subprocess.Popen(
        [*command, f"--config={harness.write_config(folder, config)}"],
        env={**os.environ, **harness.MPI_ENVIRONMENT},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        metrics = Path(config["output_dir"]) / "metrics.jsonl"
        trains = lambda: metrics.exists() and metrics.read_text().count("\n") >= 2
        wait_until(lambda: trains() or job.poll() is not None, "the first steps")
        processes = children(job.pid)
        if len(processes) != ranks:
            raise harness.Failure(f"{len(processes)} ranks, {ranks} expected")
        os.kill(processes[victim], signal.SIGKILL)
        start = time.monotonic()
        wait_until(lambda: job.poll() is not None, "mpirun ends")
        wait_until(lambda: not any(map(is_running, processes)), "every rank ends")
        seconds = time.monotonic() - start
    finally:
        if job.poll() is None:
            job.terminate()
            job.wait()
    if job.returncode == 0:
        raise harness.Failure("mpirun ended with 0")
    return f"exit {job.returncode} after {seconds:.1f} s"


def answered(binary, scratch, ranks, settings, *expected_ranks, **parallel):
    """Every command line of the refusal runs, on the expected numbers of ranks."""
    folder, config = prepare(scratch, 3, **parallel)
    arguments = [f"--config={harness.write_config(folder, config)}"]
    for setting in settings:
        arguments += ["--set", setting]
    refused = harness.mpirun(binary, ranks, arguments, LIMIT_SECONDS)
    if refused.returncode != USAGE:
        raise harness.Failure(f"exit {refused.returncode}, {USAGE} expected: {refused.stderr[:500]}")
    lines = re.findall(r"'(mpirun -np \d+ \S*fttrain .*?)' \(\d+ replicas?\)", refused.stderr)
    proposed = [int(shlex.split(line)[2]) for line in lines]
    if proposed != list(expected_ranks):
        raise harness.Failure(f"{proposed} ranks proposed, {expected_ranks} expected: {refused.stderr}")
    for number, line in zip(proposed, lines):
        harness.run_or_fail(binary, number, shlex.split(line)[4:], LIMIT_SECONDS)
    return "; ".join(lines)


def main():
    binary = Path(sys.argv[1])
    with harness.scratch_folder() as scratch:
        run = lambda check, *a, **k: lambda: check(binary, scratch, *a, **k)
        quoted = ["adapter.init_from=", "adapter.target_modules=[q_proj, v_proj]"]
        harness.run_checks(
            [
                ("the last tensor rank is killed", run(killed, 2, -1, tensor=2)),
                ("the first pipeline stage is killed", run(killed, 2, 0, pipeline=2)),
                ("a rank of a replica is killed", run(killed, 4, -1, pipeline=2, zero_stage=3)),
                ("4 ranks a replica, 3 ranks", run(answered, 3, [], 4, tensor=2, pipeline=2)),
                ("2 ranks a replica, 3 ranks", run(answered, 3, [], 2, 4, pipeline=2)),
                (
                    "a layout of the command line",
                    run(answered, 1, ["parallel.tensor=2", *quoted], 2),
                ),
            ]
        )


if __name__ == "__main__":
    main()
