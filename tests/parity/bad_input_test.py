#!/usr/bin/env python3
"""bad_input_test.py BINARY [--two-fifths] [WORDS]: what the program cannot do is one clear line on stderr and a
failed mpirun, within seconds.

Every case of bad_inputs/ starts from a run that works (the first checks show it), spoils one thing
and names the exit code and what the line must say. WORDS: the cases that have them in their name.
--two-fifths: of each subject the first and the third of every five, more than a hundred.
"""

import re
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
import tiny_models
from bad_inputs import adapter, checkpoint, command_line, config, files, layout, model, output
from bad_inputs import rows, texts, weights

LIMIT_SECONDS = 40
SUBJECTS = (command_line, config, layout, model, weights, texts, rows, files)
SUBJECTS += (adapter, output, checkpoint)
# Most of a case's time mpirun waits: a second for the other ranks to end by themselves.
AT_ONCE = 4
# What mpirun itself adds when a rank fails: blocks between rulers, and lines that begin with
# [host:pid].
MPIRUN_NOISE = re.compile(
    r"^-{20,}$.*?^-{20,}$\n|^\[[^\] ]+:\d+\] [^\n]*\n", re.MULTILINE | re.DOTALL
)


class Runs:
    """Folders with a run that works: each case spoils a copy of what was made once."""

    def __init__(self, binary, scratch):
        self._scratch = Path(scratch)
        tiny_models.write_case("llama_grouped", self._scratch / "fresh")
        folder, settings = self._copy("fresh", "saved")
        checkpoint.save(binary, folder, settings)

    def fresh(self, name):
        """Three steps, none of them done."""
        return self._copy("fresh", name)

    def saved(self, name):
        """Two of the three steps are done and saved."""
        return self._copy("saved", name)

    def _copy(self, original, name):
        folder = self._scratch / name
        shutil.copytree(self._scratch / original, folder)
        golden = harness.load_golden()
        return folder, harness.run_config(folder, golden, "lora", 3, parallel={"tensor": 2})


def works(binary, runs):
    folder, settings = runs.fresh("works")
    steps = harness.train(binary, folder, 2, settings)
    if len(steps) != 3:
        raise harness.Failure(f"{len(steps)} steps, 3 expected")
    return "3 steps"


def goes_on(binary, runs):
    """A checkpoint that nothing is wrong with is gone on from."""
    folder, settings = runs.saved("goes-on")
    checkpoint.goes_on(folder, settings)
    path = harness.write_config(folder, settings)
    done = harness.run_or_fail(binary, 2, ["train", f"--config={path}"])
    if "checkpoints/step-2, after step 2" not in done.stdout:
        raise harness.Failure(f"no resume in {done.stdout!r}")
    return "from step 2"


def fails_clearly(binary, prepare, case):
    folder, settings = prepare(f"case-{threading.get_ident()}")
    try:
        case.spoil(folder, settings)
        path = harness.write_config(folder, settings)
        path.write_bytes(case.config_text(path.read_bytes()))
        for _ in range(case.starts):
            said = fails_once(binary, folder, case)
        return said
    finally:
        shutil.rmtree(folder)


def fails_once(binary, folder, case):
    start = time.monotonic()
    done = harness.mpirun(
        binary,
        case.ranks,
        [*case.command, f"--config={folder / case.config_name}"],
        LIMIT_SECONDS,
        case.wrapper,
    )
    seconds = time.monotonic() - start
    own_lines = [line for line in MPIRUN_NOISE.sub("", done.stderr).splitlines() if line.strip()]
    if done.returncode != case.code:
        raise harness.Failure(
            f"mpirun ended with {done.returncode}, {case.code} expected: {own_lines[:1]}"
        )
    if len(own_lines) != 1:
        raise harness.Failure(
            f"{len(own_lines)} lines on stderr, 1 expected: " + " | ".join(own_lines[:5])
        )
    if not re.search(case.says, own_lines[0]):
        raise harness.Failure(f"'{own_lines[0]}' does not say /{case.says}/")
    return f"exit {done.returncode} after {seconds:.1f} s: {own_lines[0]}"


def main():
    binary = Path(sys.argv[1])
    words = sys.argv[2:]
    chosen = (0, 2) if "--two-fifths" in words else range(5)
    wanted = " ".join(word for word in words if word != "--two-fifths")
    with harness.scratch_folder() as scratch, ThreadPoolExecutor(AT_ONCE) as pool:
        runs = Runs(binary, scratch)
        checks = [
            ("nothing is wrong", pool.submit(works, binary, runs)),
            ("nothing is wrong with a checkpoint", pool.submit(goes_on, binary, runs)),
        ]
        for subject in SUBJECTS:
            prepare = runs.saved if subject is checkpoint else runs.fresh
            for i, case in enumerate(subject.CASES):
                if i % 5 in chosen and wanted in case.name:
                    check = pool.submit(fails_clearly, binary, prepare, case)
                    checks.append((case.name, check))
        harness.run_checks([(name, check.result) for name, check in checks])


if __name__ == "__main__":
    main()
