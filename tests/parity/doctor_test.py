"""`fttrain doctor` end to end on this machine: alone and under mpirun, for people and for programs."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import harness

AREAS = ["versions", "devices", "links", "ranks", "host", "disk"]


def doctor(binary, ranks, *flags):
    """CompletedProcess of a doctor without a GPU, whatever this machine has."""
    return harness.mpirun(binary, ranks, ["doctor", "--device=cpu", *flags], 120)


def examines(binary, ranks):
    with harness.scratch_folder() as folder:
        begin = time.monotonic()
        done = doctor(binary, ranks, "--json", f"--output={folder}/run")
        seconds = time.monotonic() - begin
        if os.listdir(folder):
            raise harness.Failure(f"it left {os.listdir(folder)}")
    if done.returncode != 0:
        raise harness.Failure(f"exit {done.returncode}: {done.stderr} {done.stdout[-2000:]}")
    told = json.loads(done.stdout)
    measured = told["measured"]
    if told["ok"] is not True or set(told) != {"findings", "measured", "ok"}:
        raise harness.Failure(f"keys {list(told)}, ok {told['ok']}")
    if {finding["area"] for finding in told["findings"]} != set(AREAS):
        raise harness.Failure(f"areas {[finding['area'] for finding in told['findings']]}")
    if any(finding["severity"] == "warning" and not finding["fix"] for finding in told["findings"]):
        raise harness.Failure("a warning has no fix")
    if not any("no GPU: " in finding["seen"] or "card" in finding["seen"] for finding in told["findings"]):
        raise harness.Failure("nothing is said of GPUs")
    pairs = measured["links"]["pairs"]
    if len(measured["ranks"]) != ranks or len(pairs) != ranks * (ranks - 1) // 2:
        raise harness.Failure(f"{len(measured['ranks'])} ranks, {len(pairs)} pairs")
    for pair in pairs:
        for way in (pair["forward"], pair["backward"]):
            if way["wrong_bytes"] or way["rate"] <= 0:
                raise harness.Failure(f"pair {pair}")
    if seconds > 20:
        raise harness.Failure(f"{seconds:.0f} s")
    return f"{len(told['findings'])} findings in {seconds:.1f} s"


def is_read(binary):
    with harness.scratch_folder() as folder:
        done = doctor(binary, 2, f"--output={folder}")
    if done.returncode != 0:
        raise harness.Failure(f"exit {done.returncode}: {done.stderr}")
    areas = [line for line in done.stdout.splitlines() if line in AREAS]
    if areas != AREAS:
        raise harness.Failure(f"areas {areas} of {done.stdout}")
    lines = [line for line in done.stdout.splitlines() if line not in AREAS]
    for line in lines[:-1]:
        if not re.match(r"  (ok |note|warning) +\S|           fix: \S", line):
            raise harness.Failure(f"line '{line}'")
    if not re.match(r"0 errors, \d+ warnings?$", lines[-1]):
        raise harness.Failure(f"ends with '{lines[-1]}'")
    return f"{len(lines)} lines"


def refuses(binary):
    """What is broken is told on both ways out, with its exit code; what is asked wrongly in a line."""
    cases = [
        (["--output=/proc/no/such"], 73, r"^fttrain: error\[73\]: disk: .*/proc: cannot make a file there"),
        (["--timeout=0"], 64, r"^fttrain: error\[64\]: --timeout=0: must be seconds, at least 1$"),
        (["--device=tpu"], 64, r"^fttrain: error\[64\]: --device=tpu: must be auto, cuda or cpu$"),
        (["--jsn"], 64, r"did you mean '--json'"),
    ]
    for flags, code, want in cases:
        done = doctor(binary, 2, *flags)
        if done.returncode != code or not re.search(want, done.stderr, re.M):
            raise harness.Failure(f"{flags}: exit {done.returncode}: {done.stderr}")
    said = doctor(binary, 2, "--output=/proc/no/such").stdout
    if not re.search(r"error +.*cannot make a file there.*\n +fix: give a folder", said):
        raise harness.Failure(f"'{said}' does not say what to do")
    return f"{len(cases)} ways"


def chooses_how_threads_wait(binary):
    """Started again before libraries are, unless the environment has chosen or there is one thread."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    for chosen, again in [({}, True), ({"OMP_NUM_THREADS": "1"}, False), ({"OMP_WAIT_POLICY": "passive"}, False)]:
        with harness.scratch_folder() as folder:
            command = [binary, "doctor", "--device=cpu", f"--output={folder}"]
            process = subprocess.Popen(command, env={**plain, **chosen}, stdout=subprocess.DEVNULL)
            variables = b""
            while process.poll() is None:
                try:
                    variables = Path(f"/proc/{process.pid}/environ").read_bytes() or variables
                except OSError:
                    break
                time.sleep(0.05)
        if process.wait(120) != 0:
            raise harness.Failure(f"exit {process.returncode} with {chosen}")
        if (b"GOMP_SPINCOUNT=" in variables) != again or b"PATH=" not in variables:
            raise harness.Failure(f"with {chosen} its environment was {variables}")
    return "in 3 environments"


def main():
    binary = Path(sys.argv[1])
    harness.run_checks(
        [(f"an examination on {ranks} ranks", lambda r=ranks: examines(binary, r)) for ranks in (1, 2, 3)]
        + [("what a person reads", lambda: is_read(binary)), ("what is broken", lambda: refuses(binary)), ("how threads wait", lambda: chooses_how_threads_wait(binary))]
    )


if __name__ == "__main__":
    main()
