#!/usr/bin/env python3
"""What does a large file of rows cost: to tokenise once, to start from what is kept, and in memory?

    .venv/bin/python bench/data_scale.py build/release/fttrain --model=models/SmolLM2-135M-Instruct --mib=2048

Writes a file of alpaca rows of that size, then times `fttrain data` in three states (nothing kept; tokens kept; all in
memory) with its own resident memory, file pages apart, and beside it Hugging Face: `datasets` (load_dataset, map with
the fast tokenizer, as many processes as threads) if this Python has it, else `tokenizers` alone on the same texts,
without reading JSON or rendering a template. The model's folder needs its config and tokenizer, no weights.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def run(command, environment):
    """Seconds, and the most anonymous and file-backed MiB that the process had resident."""
    start = time.monotonic()
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
    return time.monotonic() - start, anonymous, mapped, text


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--packing", default="true", choices=["true", "best_fit", "false"])
    parser.add_argument("--python", default=sys.executable, help="of Hugging Face's side")
    parser.add_argument("--skip", nargs="*", default=[], choices=["memory", "hugging-face"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = folder / "rows.jsonl"
        count = write_rows(rows, options.mib)
        print(f"{options.mib} MiB, {count} rows, {options.threads} threads")
        time.sleep(2.5)  # its digest is kept once it stands still
        report = None
        states = [("nothing kept", str(folder / "cache")), ("tokens kept", str(folder / "cache"))]
        if "memory" not in options.skip:
            states.append(("in memory", "none"))
        for name, cache in states:
            seconds, anonymous, mapped, text = fttrain(options, rows, folder, cache)
            print(f"{name:14} {seconds:8.2f} s {options.mib / seconds:8.1f} MiB/s   resident {anonymous:5} MiB"
                  f" + {mapped} MiB of files", flush=True)
            found = json.loads(text)
            if report is not None and found != report:
                sys.exit("the numbers of the rows differ")
            report = found
        kept = sum(file.stat().st_size for file in (folder / "cache").glob("*.tokens"))
        print(f"kept: {kept / 2**20:.0f} MiB")
        if "hugging-face" not in options.skip:
            (folder / "hf").mkdir()
            command = [options.python, "-c", HUGGING_FACE, str(rows), str(options.model.resolve()),
                       str(options.threads), str(folder / "hf")]
            print(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip(), "s")
            shutil.rmtree(folder / "hf")


if __name__ == "__main__":
    main()
