#!/usr/bin/env python3
"""What does a large file of rows cost: to tokenise once, to start from what is kept, and in memory?

    .venv/bin/python bench/data_scale.py build/release/fttrain --model=models/SmolLM2-135M-Instruct --mib=2048

Writes a file of alpaca rows of that size, then times `fttrain data` in three states (nothing kept; tokens kept; all in
memory) with its own resident memory, file pages apart, and beside it Hugging Face: `datasets` (load_dataset, map with
the fast tokenizer, as many processes as threads) if this Python has it, else `tokenizers` alone on the same texts,
without reading JSON or rendering a template. The model's folder needs its config and tokenizer, no weights.

Then two ranks train a few steps of short rows on the file, whose tokens are kept, and on its first rows alone: what
the start takes longer and what each rank has more in memory is of the data; a run that stops in the middle and goes on
must have the losses of one that does not; and the time that a step waits for its rows is told. This needs weights.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare_peft import MPI_ENVIRONMENT

WORDS = ("the of and to in is that for it as was with be by on not he his but at are this have from or had an they "
         "which one you were all her she there would their we him been has when who will no more if out so up said what "
         "its about than into them can only other time new some could these two may first then do any like my now over "
         "such our man me even most made after also did many off before must well back through years where much your "
         "way down should because long each just state people those too mr how little good world make very year still "
         "see work life being").split()


def write_rows(path, mib):
    draw = random.Random(3)
    sentences = [" ".join(draw.choices(WORDS, k=draw.randrange(5, 20))).capitalize() + "." for _ in range(20000)]
    written, rows = 0, 0
    with path.open("w") as file:
        while written < mib << 20:
            text = " ".join(draw.choices(sentences, k=min(40, max(1, int(draw.lognormvariate(2.0, 0.7))))))
            row = {"instruction": f"{rows}: {draw.choice(sentences)}", "input": "", "output": text}
            written += file.write(json.dumps(row) + "\n")
            rows += 1
    return rows


def processor_seconds():
    """Of all programs that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(command, environment):
    """Seconds by the clock and of processors, and the most anonymous and file-backed MiB that the process had resident."""
    start, before = time.monotonic(), processor_seconds()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    anonymous = mapped = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        of = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Rss")}
        anonymous = max(anonymous, int(of.get("RssAnon", 0)) // 1024)
        mapped = max(mapped, int(of.get("RssFile", 0)) // 1024)
        time.sleep(0.02)
    text = process.stdout.read()
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}\n{text}")
    return time.monotonic() - start, processor_seconds() - before, anonymous, mapped, text


def fttrain(options, rows, folder, cache):
    command = [str(options.binary.resolve()), "data", f"--model={options.model}", f"--input={rows}", "--json",
               f"data.cache_dir={cache}", "data.chat_template=chatml", f"data.packing={options.packing}"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "OMPI_ALLOW_RUN_AS_ROOT": "1",
                   "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return run(command, environment)


HUGGING_FACE = """
import json, sys, time
rows, model, threads, scratch = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
import os
os.environ["HF_HOME"] = scratch
os.environ["RAYON_NUM_THREADS"] = str(threads)
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(model + "/tokenizer.json")
start = time.monotonic()
try:
    import datasets
except ImportError:
    datasets = None
def text_of(row):
    return ("<|im_start|>user\\n" + row["instruction"] + "<|im_end|>\\n<|im_start|>assistant\\n" + row["output"]
            + "<|im_end|>\\n")
if datasets is not None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    datasets.disable_progress_bars()
    data = datasets.load_dataset("json", data_files=rows, split="train", cache_dir=scratch)
    def encode(batch):
        texts = [text_of(dict(zip(batch, row))) for row in zip(*batch.values())]
        return {"input_ids": [each.ids for each in tokenizer.encode_batch(texts, add_special_tokens=False)]}
    data = data.map(encode, batched=True, num_proc=threads, remove_columns=data.column_names)
    print("datasets + tokenizers", len(data), time.monotonic() - start)
else:
    texts, count, seconds = [], 0, 0.0
    with open(rows) as file:
        for line in file:
            texts.append(text_of(json.loads(line)))
            if len(texts) == 20000:
                begin = time.monotonic()
                tokenizer.encode_batch(texts, add_special_tokens=False)
                seconds += time.monotonic() - begin
                count += len(texts)
                texts = []
    if texts:
        begin = time.monotonic()
        tokenizer.encode_batch(texts, add_special_tokens=False)
        seconds += time.monotonic() - begin
        count += len(texts)
    print("tokenizers alone (reading and rendering not counted)", count, seconds)
"""


def states(options, rows, folder, cache):
    mib, report = rows.stat().st_size / 2**20, None
    all_states = [("nothing kept", str(cache)), ("tokens kept", str(cache)), ("in memory", "none")]
    for name, where in all_states[: 2 if "memory" in options.skip else 3]:
        seconds, of_processors, anonymous, mapped, text = fttrain(options, rows, folder, where)
        print(f"{name:14} {seconds:8.2f} s ({of_processors:.2f} of processors) {mib / seconds:8.1f} MiB/s   resident {anonymous:5} MiB"
              f" + {mapped} MiB of files", flush=True)
        found = json.loads(text)
        if report is not None and found != report:
            sys.exit("the numbers of the rows differ")
        report = found
    kept = sum(file.stat().st_size for file in cache.glob("*.tokens"))
    print(f"kept: {kept / 2**20:.0f} MiB")


TRAINED_TOKENS = 128  # of a row: what is timed is the data, not the model


def rank_memory(mpirun):
    """Anonymous and file-backed KiB of each rank, by its process."""
    found = {}
    children = Path(f"/proc/{mpirun}/task/{mpirun}/children").read_text().split()
    for pid in children:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        of = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
        found[pid] = (int(of.get("RssAnon", 0)), int(of.get("RssFile", 0)))
    return found


def train(options, rows, folder, cache, steps, name, **keys):
    """Seconds to the end of the first step, the most MiB of a rank (anonymous, files), and lines of metrics."""
    out = folder / name
    config = {"model": {"path": str(options.model.resolve())}, "adapter": {"method": "lora"},
              "data": {"train": [{"path": str(rows)}], "sequence_len": TRAINED_TOKENS, "chat_template": "chatml",
                       "cache_dir": str(cache), "packing": options.packing},
              "train": {"num_epochs": 3, "gradient_accumulation_steps": 1, "save_steps": 2, "save_total_limit": 1, **keys},
              "device": "cpu", "output_dir": str(out)}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    metrics = out / "metrics.jsonl"
    had = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
    command = ["mpirun", "-np", "2", str(options.binary.resolve()), "train", f"--config={path}"]
    start, first, memory = time.monotonic(), None, {}
    process = subprocess.Popen(command, env={**os.environ, **MPI_ENVIRONMENT, "OMP_NUM_THREADS": "1"},
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        lines = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
        if first is None and lines > had:
            first = time.monotonic() - start
        if lines >= steps and not (out / "STOP").exists():
            (out / "STOP").touch()
        try:
            for pid, (anonymous, mapped) in rank_memory(process.pid).items():
                most = memory.setdefault(pid, [0, 0])
                memory[pid] = [max(most[0], anonymous), max(most[1], mapped)]
        except OSError:
            pass
        time.sleep(0.01)
    if process.returncode != 75 or first is None:
        sys.exit(f"{name}: exit {process.returncode}: {process.stderr.read()}")
    most = [max(rank[i] for rank in memory.values()) // 1024 for i in (0, 1)]
    return first, most, [json.loads(line) for line in metrics.read_text().splitlines()]


def training(options, rows, folder, cache):
    few = folder / "few.jsonl"
    with rows.open() as whole:
        few.write_text("".join(whole.readline() for _ in range(200)))
    time.sleep(2.5)
    train(options, rows, folder, cache, 1, "makes")  # what is kept of its rows
    train(options, few, folder, cache, 1, "warms")
    told = {}
    for name, file in (("few", few), ("many", rows), ("few", few), ("many", rows)):  # the faster of two each
        shutil.rmtree(folder / name, ignore_errors=True)
        seconds, most, lines = train(options, file, folder, cache, 6, name)
        if name not in told or seconds < told[name][0]:
            told[name] = (seconds, most, lines)
    (few_seconds, few_most, _), (seconds, most, lines) = told["few"], told["many"]
    print(f"to the end of the first step: {seconds:.2f} s of all rows, {few_seconds:.2f} s of 200: "
          f"{seconds - few_seconds:.2f} s are of the data")
    print(f"a rank has at most {most[0]} + {most[1]} MiB (anonymous + files) of all rows, {few_most[0]} + {few_most[1]} of 200: "
          f"{sum(most) - sum(few_most)} MiB are of the data")
    waits = sum(line["phases"].get("data", 0) for line in lines[1:]) / sum(line["seconds"] for line in lines[1:])
    print(f"steps wait for rows and tensors of them {100 * waits:.2f} % of their time")
    train(options, rows, folder, cache, 3, "stopped")
    _, _, again = train(options, rows, folder, cache, 6, "stopped")
    count = min(len(again), len(lines))
    if [line["loss"] for line in again[:count]] != [line["loss"] for line in lines[:count]]:
        sys.exit(f"stopped: {again}; straight: {lines}")
    print(f"stopped after 3 steps and gone on: the same {count} losses")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--packing", default="true", choices=["true", "best_fit", "false"])
    parser.add_argument("--rows", type=Path, help="of an earlier run, in the place of new ones")
    parser.add_argument("--cache", type=Path, help="with its tokens, perhaps")
    parser.add_argument("--python", default=sys.executable, help="of Hugging Face's side")
    parser.add_argument("--skip", nargs="*", default=[], choices=["data", "memory", "hugging-face", "training"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = options.rows or folder / "rows.jsonl"
        if options.rows is None:
            count = write_rows(rows, options.mib)
            print(f"{options.mib} MiB, {count} rows, {options.threads} threads")
            time.sleep(2.5)  # its digest is kept once it stands still
        cache = options.cache or folder / "cache"
        if "data" not in options.skip:
            states(options, rows, folder, cache)
        if "training" not in options.skip:
            training(options, rows.resolve(), folder, cache.resolve())
        if "hugging-face" not in options.skip:
            (folder / "hf").mkdir()
            command = [options.python, "-c", HUGGING_FACE, str(rows), str(options.model.resolve()),
                       str(options.threads), str(folder / "hf")]
            before = processor_seconds()
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            print(f"{said} s ({processor_seconds() - before:.2f} of processors, its start too)")


if __name__ == "__main__":
    main()
