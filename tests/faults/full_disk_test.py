#!/usr/bin/env python3
"""full_disk_test.py BINARY: a disk that is full while a run saves, and stays full until somebody makes room.

The disk is a tmpfs of a mount namespace, which somebody else fills when the first of four checkpoints is there. The run must go
on without the others, keep what it has learnt in memory until there is room, and leave what a run on an empty disk leaves.
Exit code 77 where no file system may be mounted. Takes half a minute, of which the run waits most.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "parity"))
import harness  # noqa: E402
import tiny_models  # noqa: E402

STEPS, EVERY, PAGE = 40, 10, 4096
SKIPPED = 77


def pages(folder):
    """Bytes that its files take of a tmpfs."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*") if path.is_file())


def prepare(folder, out):
    tiny_models.write_case("llama_grouped", folder)
    config = harness.run_config(folder, harness.load_golden(), "full", STEPS)
    config["train"].update(save_steps=EVERY, save_total_limit=0, disk_full_wait=120)
    config["train"]["gradient_accumulation_steps"] = 24  # steps that last
    config["output_dir"] = str(out)
    return harness.write_config(folder, config)


def start(binary, config):
    return subprocess.Popen(
        ["mpirun", "-np", "2", str(binary), "train", f"--config={config}"],
        env={**os.environ, **harness.MPI_ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def fill(filler, checkpoint, process):
    """All that is free, once that checkpoint is there."""
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.005)
    room = os.statvfs(filler.parent)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize)


def with_room_made(process, filler):
    """What the run says; the filler goes two seconds after it says that it waits."""
    said = []
    for line in process.stdout:
        said.append(line)
        if "the result could not be saved" in line:
            threading.Timer(2, lambda: filler.unlink(missing_ok=True)).start()
    return process.wait(60), "".join(said)


def is_whole(checkpoint):
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    return all((checkpoint / each["name"]).stat().st_size == each["bytes"] for each in manifest["files"])


def expect(condition, what):
    if not condition:
        raise harness.Failure(what)


def survives(binary, scratch):
    plain = scratch / "plain"
    plain.mkdir()
    done = start(binary, prepare(plain, plain / "out"))
    said = done.communicate(timeout=120)[0]
    expect(done.returncode == 0, f"on an empty disk: exit {done.returncode}: {said[-800:]}")
    checkpoint = pages(plain / "out/checkpoints/step-10")
    result = pages(plain / "out/model")
    others = pages(plain / "out") - result - pages(plain / "out/checkpoints")

    disk, folder = scratch / "disk", scratch / "full"
    disk.mkdir()
    folder.mkdir()
    size = 5 * checkpoint + 2 * result + others + (1 << 20)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
    began = time.monotonic()
    run = start(binary, prepare(folder, disk / "out"))
    filler = disk / "filler"
    threading.Thread(target=fill, args=(filler, disk / "out/checkpoints/step-10", run)).start()
    code, said = with_room_made(run, filler)
    expect(code == 0, f"exit {code}: {said[-1500:]}")
    failed = len(re.findall(r"warning +a checkpoint could not be saved, training goes on: .*[Nn]o space", said))
    expect(failed == 3, f"{failed} saves failed of three: {said[-1500:]}")
    kept = [path for path in (disk / "out/checkpoints").iterdir() if path.is_dir()]
    expect([path.name for path in kept] == ["step-10"] and is_whole(kept[0]), f"left {kept}")
    for path in (plain / "out/model").iterdir():
        expect(path.read_bytes() == (disk / "out/model" / path.name).read_bytes(), f"{path.name} is another")
    lines = (disk / "out/metrics.jsonl").read_text().splitlines()
    expect(len(lines) == STEPS, f"{len(lines)} lines of metrics")
    return f"one of four checkpoints, the result after {time.monotonic() - began:.0f} s"


def main():
    if "--inside" not in sys.argv:
        if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode != 0:
            print("no file system may be mounted here")
            raise SystemExit(SKIPPED)
        os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv, "--inside"])
    binary = Path(sys.argv[1])
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        try:
            harness.run_checks([("a disk without room", lambda: survives(binary, folder))])
        finally:
            subprocess.run(["umount", folder / "disk"], capture_output=True)
            shutil.rmtree(folder / "disk", ignore_errors=True)


if __name__ == "__main__":
    main()
