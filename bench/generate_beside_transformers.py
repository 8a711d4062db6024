#!/usr/bin/env python3
"""How fast are answers written beside transformers on the same cores?

    .venv/bin/python bench/generate_beside_transformers.py build/release/fttrain --model=models/SmolLM2-135M-Instruct

Greedy, 64 new tokens to each of 8 texts, one or eight at a time, in bfloat16 and float32; both keep keys and values. A figure
is tokens a second of what 64 tokens take more than one does, so that loading and prompts are left out: of the processor's seconds
(other programs take wall seconds alone), the better of --repeat runs, and beside it of wall seconds. The two take turns.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "parity"))

import harness
import torch
import transformers

NEW = 64
TEXTS = [
    "The history of the printing press began",
    "In the middle of the forest there was a small house, and in it",
    "A good recipe for bread needs flour, water and",
    "The main difference between a virus and a bacterium is",
    "Once upon a time, a king who had three daughters",
    "To sort a list of numbers in Python, one can",
    "The planets of the solar system, from the sun outwards, are",
    "When the train finally arrived at the station, Anna",
]


def clock():
    return time.process_time(), time.perf_counter()


def ours(arguments, dtype, batch, tokens, scratch):
    """Processor and wall seconds of a whole run, and the tokens written."""
    prompts, output = scratch / "in.jsonl", scratch / "out.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in TEXTS))
    command = [str(arguments.binary), "generate", f"--model={arguments.model}", "--raw"]
    command += [f"--prompts={prompts}", f"--output={output}", f"--batch_size={batch}"]
    command += [f"--max_new_tokens={tokens}", "--set", f"precision.compute={dtype}", "--set", "device=cpu"]
    environment = {**os.environ, **harness.MPI_ENVIRONMENT, "OMP_NUM_THREADS": str(arguments.threads)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, wall, [row["token_ids"] for row in rows]


class Theirs:
    def __init__(self, model, dtype):
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(model, padding_side="left")
        self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            model, dtype={"bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
        ).eval()

    @torch.no_grad()
    def run(self, batch, tokens):
        answers, begin = [], clock()
        for i in range(0, len(TEXTS), batch):
            asked = self.tokenizer(TEXTS[i : i + batch], return_tensors="pt", padding=True)
            out = self.model.generate(
                **asked, do_sample=False, max_new_tokens=tokens, pad_token_id=self.tokenizer.pad_token_id
            )
            answers += out[:, asked["input_ids"].shape[1] :].tolist()
        end = clock()
        return end[0] - begin[0], end[1] - begin[1], answers


def rate(run):
    """Tokens a second, of the processor and of the wall, of what comes behind the first token."""
    first_used, first_wall, first = run(1)
    used, wall, answers = run(NEW)
    tokens = sum(map(len, answers)) - sum(map(len, first))
    return tokens / (used - first_used), tokens / (wall - first_wall), answers


def best(rates):
    return max(each[0] for each in rates), max(each[1] for each in rates)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dtypes", nargs="+", default=["bf16", "fp32"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{NEW} tokens to each of {len(TEXTS)} texts, {arguments.threads} threads; tokens a processor second (a wall second)\n")
    print("| dtype | at a time | transformers | fttrain | times as fast | same answers |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="fttrain-bench-") as scratch:
        for dtype in arguments.dtypes:
            theirs = Theirs(arguments.model, dtype)
            theirs.run(8, 2)  # what the first call alone does
            for batch in (1, 8):
                mine, other = [], []
                for _ in range(arguments.repeat):
                    other.append(rate(lambda tokens, b=batch: theirs.run(b, tokens)))
                    mine.append(rate(lambda tokens, b=batch: ours(arguments, dtype, b, tokens, Path(scratch))))
                (ours_used, ours_wall), (theirs_used, theirs_wall) = best(mine), best(other)
                same = sum(a == b for a, b in zip(mine[0][2], other[0][2], strict=True))
                print(
                    f"| {dtype} | {batch} | {theirs_used:.1f} ({theirs_wall:.1f}) | {ours_used:.1f} ({ours_wall:.1f}) "
                    f"| {ours_used / theirs_used:.2f} ({ours_wall / theirs_wall:.2f}) | {same} of {len(TEXTS)} |",
                    flush=True,
                )
    print(f"\n{platform.machine()}, torch {torch.__version__}, transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
