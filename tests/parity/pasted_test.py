#!/usr/bin/env python3
"""pasted_test.py BINARY [WORDS]: every command that READMEs, recipes, help and errors print works when it is pasted.

In a folder like the sources': configs, data and launch are theirs, build/release/fttrain is BINARY, and every model
that is named is a tiny one with a tokenizer and a chat template of its family. What trains by a recipe gets keys that
make it short behind it. WORDS: those commands alone.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import harness
import tiny_models
from recipes_test import RECIPES, ROWS, SOURCES, write_folder

PROGRAM = "build/release/fttrain"
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "configs/README.md", *sorted(f"configs/{name}.yaml" for name in RECIPES)]
COMMAND = re.compile(r"(mpirun -np \d+ )?(\S*fttrain) +\S")
SECONDS = 100
SHORT = " --train.max_steps=2 schedule.warmup_steps=0 train.gradient_accumulation_steps=4"
LLAMA = {
    **tiny_models.COMMON,
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 8192,
}
# Word of a model's name: the recipe whose tokenizer and template it has, and the tiny model whose wiring.
MODELS = {
    "smollm2": ("quickstart", None),
    "smollm3": ("smollm3-3b-full", "smollm3"),
    "deepseek-v2-lite": ("deepseek-v2-lite-qlora", "deepseek_v2"),
    "qwen3-30b": ("qwen3-30b-a3b-qlora", "qwen3_moe"),
    "gpt-oss": ("gpt-oss-20b-qlora", "gpt_oss"),
    "qwen3": ("qwen3-8b-lora", None),
    "qwen": ("qwen2.5-7b-lora-tp2", None),
    "mistral-small": ("mistral-small-24b-qlora", "mistral"),
    "mistral": ("mistral-7b-lora", None),
    "phi-4": ("phi4-14b-qlora", "phi3"),
    "gemma": ("gemma3-27b-qlora", "gemma3"),
    "olmo": ("olmo2-13b-lora", "olmo2"),
    "granite": ("granite3.3-8b-lora", "granite"),
    "glm": ("glm4-9b-lora", "glm4"),
    "command": ("command-r7b-lora", "cohere2"),
}
# Beside a case's own, so that every recipe's layout fits. Rows are longer than phi3's first rotary embedding reaches.
LARGER = {"num_hidden_layers": 4, "no_rope_layers": [1, 0, 1, 1], "max_position_embeddings": 8192}


def whole_lines(text):
    """Lines with what follows a backslash at their end, without # of a recipe's and $ of a session's."""
    text = re.sub(r"\\\n#? *", "", text)
    return [re.sub(r"^[#$ ]+", "", line) for line in text.splitlines()]


def without_comment(line):
    return re.sub(r"\s+#\s.*$", "", line).strip()


def commands_in(text, markdown):
    """Lines that are commands; of prose what stands in backticks and has arguments."""
    found, fenced = [], not markdown
    for line in whole_lines(text):
        if line.startswith("```"):
            fenced = not fenced
        elif fenced and COMMAND.match(line):
            found.append(without_comment(line))
        for span in re.findall(r"`([^`]+)`", line):
            if COMMAND.match(span) and re.search(r"fttrain( \w+)? .*[-=./]", span):
                found.append(span)
    return found


def printed(cwd, *words):
    return subprocess.run([PROGRAM, *words], cwd=cwd, capture_output=True, text=True, timeout=SECONDS)


def commands_of_help(cwd):
    told = printed(cwd, "help").stdout
    names = re.findall(r"^  (\w+) ", told, re.M)
    if len(names) < 10:
        raise harness.Failure(f"help lists {names}")
    for name in names:
        told += printed(cwd, "help", name).stdout
    return [line.split(": ", 1)[1] for line in told.splitlines() if re.match(r"(example|A run to try.*): ", line)]


def commands_of_errors(cwd):
    """Of refusals that say what to do, what they say."""
    found = []
    for words in [("train",), ("init",), ("train", "configs/qwen2.5-7b-lora-tp2.yaml")]:
        refused = printed(cwd, *words)
        said = re.findall(r"(?:'|: )((?:mpirun -np \d+ )?\S*fttrain [^'\n]*)", refused.stderr)
        if refused.returncode == 0 or not said:
            raise harness.Failure(f"{words} ended with {refused.returncode} and said {refused.stderr}")
        found += said
    return found


def all_commands(cwd):
    found = {}
    for document in DOCUMENTS:
        text = (SOURCES / document).read_text()
        for command in commands_in(text, document.endswith(".md")):
            found.setdefault(command, document)
    for command in commands_of_help(cwd):
        found.setdefault(command, "help")
    for command in commands_of_errors(cwd):
        found.setdefault(command, "an error")
    return found


def write_model(folder):
    name = folder.name.lower()
    recipe, case = next((found for word, found in MODELS.items() if word in name), ("llama3-8b-lora", None))
    write_folder(folder, RECIPES[recipe], None)
    own = tiny_models.CASES[case][0] if case else LLAMA
    config = {**own, **{key: value for key, value in LARGER.items() if key in own}}
    tiny_models.write_json(folder / "config.json", config)
    shapes = tiny_models.weight_shapes(config)
    weights = {weight: tiny_models.random_weight("pasted", weight, shape) for weight, shape in shapes.items()}
    tiny_models.write_safetensors(folder / "model.safetensors", weights)


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows * 8))


def prepare(cwd, binary):
    (cwd / "build/release").mkdir(parents=True)
    (cwd / PROGRAM).symlink_to(binary.resolve())
    for name in ["configs", "data", "launch"]:
        (cwd / name).symlink_to(SOURCES / name)
    text = "".join((SOURCES / name).read_text() for name in DOCUMENTS) + printed(cwd, "help").stdout
    named = set(re.findall(r"(?:path: |--model=)models/([\w.-]*\w)", text)) | {"m"}
    (cwd / "models").mkdir()
    for name in named:
        if not name.endswith("-nf4"):
            write_model(cwd / "models" / name)
    for name in ["train", "my", "held_out"]:
        write_rows(cwd / f"{name}.jsonl", ROWS)
    tiny_models.write_rows(cwd / "rows.jsonl", [{"input_ids": list(range(at, at + 20))} for at in (10, 40)])
    config = {
        "model": {"path": "models/m"},
        "data": {"train": [{"path": "train.jsonl"}], "eval": [{"path": "held_out.jsonl"}], "sequence_len": 128},
        "train": {"max_steps": 6, "gradient_accumulation_steps": 2},
        "output_dir": "runs/a",
    }
    (cwd / "run.yaml").write_text(json.dumps(config))
    # What examples go on from.
    for name in ["a", "b"]:
        run(f"{PROGRAM} train run.yaml output_dir=runs/{name}", cwd)
    run(f"mpirun -np 2 {PROGRAM} train configs/quickstart.yaml{SHORT}", cwd)
    run(f"{PROGRAM} init --model=models/Llama-3.1-8B-Instruct --method=qlora --data=train.jsonl > mine.yaml", cwd)


def run(command, cwd):
    environment = {**os.environ, **harness.MPI_ENVIRONMENT}
    try:
        done = subprocess.run(
            ["bash", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True,
            timeout=SECONDS, stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise harness.Failure(f"no end within {SECONDS} s: {command}") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise harness.Failure(f"exit {done.returncode}: {command}: " + " | ".join(said[:4]))


def pasted(command, cwd):
    if COMMAND.match(command)[2] != PROGRAM:
        raise harness.Failure(f"not {PROGRAM}, which is what there is here")
    recipe = re.search(r"configs/([\w.-]+)\.yaml", command)
    if recipe and "my.jsonl" in command:
        write_rows(cwd / "my.jsonl", RECIPES[recipe[1]][5])
    if re.search(r"fttrain (train )?(--config=)?configs/", command) and "--print-config" not in command:
        command += SHORT
    output = re.search(r"--output=(models/\S+)", command)
    if output and (cwd / output[1]).exists():
        command = command.replace(output[0], output[0] + f"-{time.monotonic_ns()}")
    begun = time.monotonic()
    run(command, cwd)
    return f"{time.monotonic() - begun:.1f} s"


def installed(binary, cwd):
    """Found on PATH, the program says its name alone, and starts on ranks."""
    prefix = cwd / "installed"
    run(f"cmake --install {binary.resolve().parent} --prefix {prefix}", cwd)
    recipes = {path.stem for path in (prefix / "share/fttrain/configs").glob("*.yaml")}
    if recipes != set(RECIPES):
        raise harness.Failure(f"recipes {sorted(recipes)} are installed")
    on_path = f"export PATH={prefix}/bin:$PATH; "
    run(on_path + "fttrain help plan | grep -q '^example: fttrain plan '", cwd)
    run(on_path + ". installed/share/fttrain/launch/env.sh; mpirun -np 2 fttrain train run.yaml output_dir=runs/i", cwd)
    return "with recipes and scripts"


def main():
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    with harness.scratch_folder() as scratch:
        cwd = Path(scratch)
        prepare(cwd, Path(sys.argv[1]))
        harness.run_checks(
            [
                (f"{where}: {command}", lambda command=command: pasted(command, cwd))
                for command, where in all_commands(cwd).items()
                if wanted in command
            ]
            + [("an installed program", lambda: installed(Path(sys.argv[1]), cwd))]
        )


if __name__ == "__main__":
    main()
