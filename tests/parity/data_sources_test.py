#!/usr/bin/env python3
"""data_sources_test.py BINARY: the same rows are the same run, wherever they come from.

Losses of `fttrain train`, to the last digit: rows in JSON Lines, CSV and Parquet, one file or several behind a pattern,
in memory or kept as tokens, by one process or by ranks and runs at once, whoever of them is killed; and after a resume.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import harness
import tiny_models

USAGE, BAD_FILE, MISSING = 64, 65, 66
CANNOT_CREATE = {73, 74, 77}


def alpaca(count):
    return [
        {
            "instruction": f'Question "{i}",\nover two lines' if i % 3 == 0 else f"Question {i}",
            "input": "" if i % 2 else "a, b",
            "output": f"Answer {i}: " + "word " * (i % 11) + "end",
        }
        for i in range(count)
    ]


def write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


class Runs:
    """A tiny model and a folder for its runs."""

    def __init__(self, binary, scratch):
        self.binary = binary
        self.folder = Path(scratch)
        tiny_models.write_case("llama_grouped", self.folder)
        self.rows = alpaca(40)
        self.lines = self.folder / "rows.jsonl"
        tiny_models.write_rows(self.lines, self.rows)
        self.count = 0

    def config(self, sources, **data):
        self.count += 1
        run = harness.run_config(self.folder, harness.load_golden(), "lora", 6)
        sources = [source if isinstance(source, dict) else {"path": str(source)} for source in sources]
        run["data"] = {"train": sources, "sequence_len": 96, "chat_template": "chatml", "cache_dir": "none", **data}
        run["output_dir"] = str(self.folder / f"out{self.count}")
        path = self.folder / f"run{self.count}.yaml"
        path.write_text(json.dumps(run))
        return path, run

    def losses(self, sources, ranks=1, **data):
        path, run = self.config(sources, **data)
        harness.run_or_fail(self.binary, ranks, ["train", f"--config={path}"])
        return self.read(run)

    @staticmethod
    def read(run):
        lines = (Path(run["output_dir"]) / "metrics.jsonl").read_text().splitlines()
        return [row["loss"] for row in map(json.loads, lines) if "loss" in row]

    def refused(self, sources, codes, want, **data):
        path, _ = self.config(sources, **data)
        done = harness.mpirun(self.binary, 1, ["train", f"--config={path}"], 120)
        said = done.stderr + done.stdout
        if done.returncode not in codes or want not in said:
            raise harness.Failure(f"exit {done.returncode}, wanted {want!r}: {said}"[:800])


def must_equal(got, want, what):
    if got != want:
        raise harness.Failure(f"{what}: losses {got}, not {want}")


def tables(runs):
    want = runs.losses([runs.lines])
    write_csv(runs.folder / "rows.csv", runs.rows)
    must_equal(runs.losses([runs.folder / "rows.csv"]), want, "CSV")
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return "CSV; no pyarrow to write Parquet with"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(runs.rows), runs.folder / "rows.parquet", row_group_size=7)
    must_equal(runs.losses([runs.folder / "rows.parquet"]), want, "Parquet")
    return f"CSV and Parquet, first loss {want[0]}"


def patterns(runs):
    parts = runs.folder / "parts"
    parts.mkdir()
    for name, rows in [("b.jsonl", runs.rows[15:]), ("a.jsonl", runs.rows[:15]), ("c.txt", runs.rows)]:
        tiny_models.write_rows(parts / name, rows)
    want = runs.losses([parts / "a.jsonl", parts / "b.jsonl"])
    must_equal(runs.losses([parts / "*.jsonl"]), want, "a pattern")
    runs.refused([parts / "*.json"], {MISSING}, "data.train[0].path " + str(parts / "*.json") + ": no file matches")
    runs.refused([parts / "**/x"], {USAGE, BAD_FILE}, "** is not known")
    twice = [{"path": str(parts / "a.jsonl"), "weight": 2}, str(parts / "b.jsonl")]
    if runs.losses(twice) == want:
        raise harness.Failure("a weight changes nothing")
    must_equal(runs.losses(twice, cache_dir=str(runs.folder / "weighed")), runs.losses(twice), "weights, kept")
    return "two files, in order; weights"


def kept(runs):
    cache = runs.folder / "cache"
    for packing in (True, "best_fit", False):
        want = runs.losses([runs.lines], packing=packing)
        for ranks in (1, 1, 2):
            got = runs.losses([runs.lines], ranks=ranks, packing=packing, cache_dir=str(cache))
            # Two ranks see twice the rows a step.
            must_equal(got, want if ranks == 1 else runs.losses([runs.lines], ranks=2, packing=packing), "kept")
    files = list(cache.glob("*.tokens"))
    left = [path for path in cache.iterdir() if path.is_file() and path.suffix not in (".tokens", ".rows")]
    if len(files) != 1 or left:
        raise harness.Failure(f"{sorted(path.name for path in cache.iterdir())} in the cache")
    share = {"eval_fraction": 0.2, "cache_dir": str(cache)}
    must_equal(runs.losses([runs.lines], **share), runs.losses([runs.lines], eval_fraction=0.2), "a share held out")
    runs.lines.write_text(runs.lines.read_text().replace("Answer 7", "Answer 8"))
    must_equal(runs.losses([runs.lines], cache_dir=str(cache)), runs.losses([runs.lines]), "a file that changed")
    if len(list(cache.glob("*.tokens"))) != 2:
        raise harness.Failure("the file that changed has no tokens of its own")
    return "in three packings, by one and two ranks, and of a file that changed"


def builders(runs):
    rows = alpaca(20000)
    large = runs.folder / "large.jsonl"
    tiny_models.write_rows(large, rows)
    want = runs.losses([large])
    cache = runs.folder / "built"
    environment = {**os.environ, **harness.MPI_ENVIRONMENT}
    for trial in range(4):
        started = []
        for _ in range(2):
            path, run = runs.config([large], cache_dir=str(cache))
            process = subprocess.Popen([str(runs.binary), "train", f"--config={path}"], env=environment,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            started.append((process, run))
        if trial < 3:
            time.sleep(0.3 + 0.4 * trial)
            started[0][0].send_signal(signal.SIGKILL)
        for number, (process, run) in enumerate(started):
            said, _ = process.communicate(timeout=300)
            if trial < 3 and number == 0:
                continue
            if process.returncode != 0:
                raise harness.Failure(f"exit {process.returncode}: {said}"[-600:])
            must_equal(Runs.read(run), want, f"trial {trial}")
        for path in cache.glob("*.tokens"):
            path.unlink()
    return "two at once, one of them killed, four times"


def resumed(runs):
    cache = str(runs.folder / "cache")
    path, run = runs.config([runs.lines], cache_dir=cache)
    run["train"].update(save_steps=2, resume="auto")
    path.write_text(json.dumps(run))
    harness.run_or_fail(runs.binary, 1, ["train", f"--config={path}"])
    want = Runs.read(run)
    again = {**run, "output_dir": run["output_dir"] + "-again"}
    step = sorted((Path(run["output_dir"]) / "checkpoints").glob("step-*"), key=lambda p: int(p.name[5:]))[0]
    again["train"] = {**run["train"], "resume": str(step)}
    path.write_text(json.dumps(again))
    harness.run_or_fail(runs.binary, 1, ["train", f"--config={path}"])
    got = Runs.read(again)
    must_equal(got[-2:], want[-2:], "from a checkpoint")
    return f"{len(want)} steps, and again from {step.name}"


def refusals(runs):
    bad = runs.folder / "bad.csv"
    bad.write_text('instruction,output\nq,a\n"q,a\n')
    runs.refused([bad], {BAD_FILE}, f"{bad}:3: the quote that opens here is not closed")
    damaged = runs.folder / "bad.parquet"
    damaged.write_bytes(b"PAR1" + bytes(100))
    runs.refused([damaged], {BAD_FILE, USAGE}, f"{damaged}: ")
    runs.refused([runs.lines], CANNOT_CREATE, "data.cache_dir names another folder", cache_dir=f"{runs.lines}/x")
    return "a quote, a Parquet file, a folder"


def main():
    binary = Path(sys.argv[1])
    with harness.scratch_folder() as scratch:
        runs = Runs(binary, scratch)
        checks = [tables, patterns, kept, builders, resumed, refusals]
        harness.run_checks([(check.__name__, lambda check=check: check(runs)) for check in checks])


if __name__ == "__main__":
    main()
