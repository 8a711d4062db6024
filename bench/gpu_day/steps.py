"""Steps of a GPU day: each a command with a time limit and a check of what it left, and a JSON line
of how it ended."""

import concurrent.futures
import dataclasses
import json
import os
import shlex
import subprocess
import threading
import time
from pathlib import Path


class Failure(Exception):
    """Why a step that ended by itself is not right."""


@dataclasses.dataclass
class Step:
    name: str
    command: list
    limit: int  # seconds
    # check(what it printed) -> {name: number} for the line, or Failure
    check: object = None
    environment: dict = dataclasses.field(default_factory=dict)
    skip: str = ""  # why it cannot run here
    excuse: str = ""  # printed by a tool that cannot work here: skipped, not failed


def said(text):
    """The end of what a program printed, in one line."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return " | ".join(lines[-4:])[-600:]


class Day:
    """Runs steps and writes their lines. Statuses: passed, failed, timeout, late (the day was
    over), skipped (with a reason)."""

    def __init__(self, half, device, root, results, seconds):
        self.half, self.device, self.root = half, device, root
        self.commit = needs(root).get("bundle_commit", "unknown")
        self.card = card(device)
        self.end = time.monotonic() + seconds
        self.began = time.monotonic()
        self.statuses, self.lock = {}, threading.Lock()
        stamp = time.strftime("%Y%m%d-%H%M%S")
        results.mkdir(parents=True, exist_ok=True)
        self.path = results / f"gpu-day-{half}-{device}-{stamp}.jsonl"
        self.logs = results / f"gpu-day-{half}-{device}-{stamp}-logs"
        self.logs.mkdir()
        self.file = open(self.path, "w")

    def run(self, steps, jobs=1):
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            list(pool.map(self.one, steps))

    def one(self, step):
        start = time.monotonic()
        if step.skip:
            return self.line(step, "skipped", 0, reason=step.skip)
        left = int(self.end - start)
        if left < 5:
            return self.line(step, "late", 0, reason="the day's time was spent before")
        limit = min(step.limit, left)
        status, extra = self.outcome(step, limit)
        return self.line(step, status, time.monotonic() - start, limit=limit, **extra)

    def outcome(self, step, limit):
        command = ["timeout", "--kill-after=5", str(limit), *map(str, step.command)]
        environment = {**os.environ, **step.environment}
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
            )
            (self.logs / (step.name.replace(" ", "_").replace("/", "-") + ".log")).write_text(
                done.stdout
            )
            if done.returncode in (124, 137):
                return "timeout", {"error": f"no end within {limit} s: {said(done.stdout)}"}
            if done.returncode != 0 and step.excuse and step.excuse in done.stdout:
                return "skipped", {"reason": said(done.stdout)}
            if done.returncode != 0:
                return "failed", {"error": f"exit {done.returncode}: {said(done.stdout)}"}
            values = step.check(done.stdout) if step.check else {}
            return "passed", {"values": values} if values else {}
        except Exception as problem:  # whatever it is, the next step runs
            return "failed", {"error": f"{type(problem).__name__}: {problem}"}

    def line(self, step, status, seconds, **extra):
        entry = {
            "half": self.half,
            "step": step.name,
            "status": status,
            "seconds": round(seconds, 2),
            "device": self.device,
            "card": self.card,
            "commit": self.commit,
            "command": shlex.join(map(str, step.command)),
            **extra,
        }
        text = extra.get("error") or extra.get("reason") or json.dumps(extra.get("values", ""))
        with self.lock:
            self.statuses.setdefault(status, []).append(step.name)
            self.file.write(json.dumps(entry) + "\n")
            self.file.flush()
            print(f"{status:8} {seconds:6.1f} s  {step.name}: {text[:300]}", flush=True)
        return entry

    def summary(self):
        """Prints what ran; the exit code: 0 if nothing failed and something passed."""
        count = {status: len(names) for status, names in self.statuses.items()}
        print(
            f"\n{self.half} on {self.card}, commit {self.commit}, "
            f"{time.monotonic() - self.began:.0f} s: "
            + ", ".join(f"{n} {status}" for status, n in sorted(count.items()))
        )
        bad = [
            name
            for status in ("failed", "timeout", "late")
            for name in self.statuses.get(status, [])
        ]
        for name in bad:
            print(f"  not right: {name}")
        print(f"lines: {self.path}")
        return 1 if bad or not count.get("passed") else 0


def needs(root):
    """What the bundle says of itself (lib/needs.sh)."""
    words = Path(root, "lib/needs.sh").read_text().replace("\n", " ").split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def card(device):
    if device == "cuda":
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        try:
            return (
                subprocess.run(query, capture_output=True, text=True).stdout.strip()
                or "unknown GPU"
            )
        except OSError:
            return "unknown GPU"
    names = [
        x.split(":", 1)[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")
    ]
    return f"{len(names)} cores {names[0] if names else 'unknown'}"
