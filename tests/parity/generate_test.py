#!/usr/bin/env python3
"""generate_test.py BINARY [--prompts=N] [FAMILY ...]: answers are transformers' and PEFT's, token for token, in
every layout; files of prompts, a run's own result, and a conversation through a pipe."""

import json
import random
import shutil
import subprocess
import os
import sys
from functools import partial
from pathlib import Path

from packages import peft, torch, transformers
import harness
import tiny_models

FAMILIES = ["llama_grouped", "qwen2"]  # of those named in CMakeLists.txt, the matrix takes all
NEW = 24
START, END = 256, 257  # <|im_start|>, <|im_end|> of the tiny tokenizer

# name -> (ranks, what differs from one rank)
LAYOUTS = {
    "one rank": (1, {}),
    "tp 2": (2, {"parallel": {"tensor": 2}}),
    "pp 2": (2, {"parallel": {"pipeline": 2}}),
    "weights on disk": (
        1,
        {"parallel": {"pipeline_schedule": "layer_major"}, "memory": {"base_weights": "disk"}},
    ),
    "dp 2, ZeRO 3": (2, {"parallel": {"zero_stage": 3}}),
    "tp 2, pp 2": (4, {"parallel": {"tensor": 2, "pipeline": 2}}),
}
EVERYWHERE = ["one rank", "tp 2", "pp 2", "weights on disk"]


def expect(condition, what):
    if not condition:
        raise harness.Failure(what)


def fresh(scratch, name, case="llama_grouped"):
    folder = scratch / name
    shutil.rmtree(folder, ignore_errors=True)
    tiny_models.write_case(case, folder)
    return folder


def config_of(folder, **changes):
    return harness.write_config(
        folder, harness.run_config(folder, harness.load_golden(), "lora", 1, **changes)
    )


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(seed, count=20):
    draw = random.Random(seed)
    letters = "abcdefghij klmnop\nqrst .,?é"
    return ["".join(draw.choice(letters) for _ in range(draw.randrange(1, 60))) for _ in range(count)]


def generated(binary, folder, ranks, *flags):
    """Rows of the answers."""
    output = folder / "answers.jsonl"
    output.unlink(missing_ok=True)
    harness.run_or_fail(binary, ranks, ["generate", f"--output={output}", *flags])
    return [json.loads(line) for line in output.read_text().splitlines()]


@torch.no_grad()
def theirs(model, prompts, **settings):
    """Token ids of transformers' answers, without the end."""
    answers = []
    for text in prompts:
        ids = torch.tensor([list(text.encode())])
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NEW,
            pad_token_id=0,
            eos_token_id=[2, END],
            **settings,
        )[0, ids.shape[1] :].tolist()
        ends = [i for i, token in enumerate(out) if token in (2, END)]
        answers.append(out[: ends[0]] if ends else out)
    return answers


def loaded(folder, adapter):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "model", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    return peft.PeftModel.from_pretrained(model, adapter).eval() if adapter else model


def compare(want, rows, what):
    for i, (ids, row) in enumerate(zip(want, rows, strict=True)):
        expect(row["token_ids"] == ids, f"{what}, prompt {i}: {row['token_ids']} is not {ids}")
        expect(row["finish_reason"] == ("stop" if len(ids) < NEW else "length"), f"{what}: {row}")


def greedy_is_transformers(binary, scratch, case, count):
    folder = fresh(scratch, case, case)
    prompts = texts(case, count)
    path = write_rows(folder / "in.jsonl", [{"prompt": text} for text in prompts])
    adapter = folder / "adapter_trained"
    make_adapter(folder, adapter)
    compared = 0
    for weights in (None, adapter):
        want = theirs(loaded(folder, weights), prompts)
        for name in LAYOUTS if case == "llama_grouped" else EVERYWHERE:
            ranks, changes = LAYOUTS[name]
            flags = [f"--config={config_of(folder, **changes)}", f"--prompts={path}", "--raw"]
            flags += [f"--max_new_tokens={NEW}", "--batch_size=7"]
            rows = generated(binary, folder, ranks, *flags, *([f"--adapter={weights}"] if weights else []))
            compare(want, rows, f"{name}, {'adapter' if weights else 'base'}")
            compared += len(rows)
    penalised = theirs(loaded(folder, None), prompts, repetition_penalty=1.3)
    rows = generated(
        binary, folder, 1, f"--model={folder / 'model'}", f"--prompts={path}", "--raw",
        f"--max_new_tokens={NEW}", "--repetition_penalty=1.3", "--set", "precision.compute=fp32",
        "--set", "device=cpu",
    )
    compare(penalised, rows, "repetition_penalty")
    return f"{compared + len(rows)} answers"


def make_adapter(folder, output):
    """adapter_init with factors that change answers."""
    shutil.copytree(folder / "adapter_init", output)
    path = output / "adapter_model.safetensors"
    tensors = tiny_models.read_safetensors(path)
    for name in tensors:
        if "lora_B" in name:
            values = tiny_models.stream("generate", name).standard_normal(tensors[name].shape)
            tensors[name] = (0.3 * values).astype("float32")
    tiny_models.write_safetensors(path, tensors)


def conversations(binary, scratch):
    """{"messages"}, --system and the template, as transformers renders them."""
    folder = fresh(scratch, "conversations")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    asked = [*turns, {"role": "user", "content": "So?"}]
    system = {"role": "system", "content": "Be brief."}
    path = write_rows(folder / "in.jsonl", [{"prompt": "Hi", "id": 7}, {"messages": asked}])
    flags = [f"--config={config_of(folder)}", f"--prompts={path}", "--max_new_tokens=8"]
    for extra, first in (([], []), (["--system=Be brief."], [system])):
        rows = generated(binary, folder, 1, *flags, *extra)
        for row, messages in zip(rows, (first + turns[:1], first + asked), strict=True):
            want = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
            want = want["input_ids"] if hasattr(want, "keys") else want
            expect(row["prompt_tokens"] == len(want), f"{row['prompt_tokens']} tokens, not {len(want)}")
            text = tokenizer.decode(row["token_ids"], skip_special_tokens=True)
            expect(row["text"] == text, f"{row['text']!r} is not {text!r}")
    one = harness.run_or_fail(
        binary, 1, ["generate", *flags[:1], "--prompt=Hi", "--max_new_tokens=8", "--system=Be brief."]
    ).stdout
    expect(one.rstrip("\n").endswith(rows[0]["text"].rstrip("\n")), f"{one!r}: {rows[0]['text']!r}")
    return "prompt_tokens and texts"


def draws_are_keyed(binary, scratch):
    folder = fresh(scratch, "draws")
    path = write_rows(folder / "in.jsonl", [{"prompt": text} for text in texts(1)])
    flags = [f"--prompts={path}", "--raw", "--temperature=0.8", "--top_k=50", "--top_p=0.9"]
    flags += ["--max_new_tokens=10"]
    want = generated(binary, folder, 1, f"--config={config_of(folder)}", "--seed=1", *flags)
    for name, (ranks, changes) in LAYOUTS.items():
        at = f"--config={config_of(folder, **changes)}"
        rows = generated(binary, folder, ranks, at, "--seed=1", "--batch_size=3", *flags)
        expect(rows == want, f"{name}: other answers")
    other = generated(binary, folder, 1, f"--config={config_of(folder)}", "--seed=2", *flags)
    expect(other != want, "another seed gives the same answers")
    return f"{len(LAYOUTS)} layouts"


def bad_rows_are_told(binary, scratch):
    folder = fresh(scratch, "bad")
    path = write_rows(
        folder / "in.jsonl",
        [
            {"prompt": "fine"},
            {"prompt": ""},
            {"text": "a"},
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            {"prompt": "a", "messages": []},
            {"prompt": 3},
            {"prompt": "x" * 300},
        ],
    )
    with path.open("a") as file:
        file.write("{no json\n")
    flags = ["generate", f"--config={config_of(folder)}", f"--prompts={path}"]
    done = harness.mpirun(binary, 2, [*flags, f"--output={folder / 'out.jsonl'}", "parallel.tensor=2"], 60)
    expect(done.returncode == 65, f"exit {done.returncode}: {done.stderr}")
    told = [line for line in done.stderr.splitlines() if "in.jsonl:" in line]
    for line in (2, 3, 4, 5, 6, 8):
        expect(sum(f"in.jsonl:{line}:" in each for each in told) == 1, f"row {line}: {done.stderr}")
    expect(not (folder / "out.jsonl").exists(), "a file of answers")
    write_rows(path, [{"prompt": "x" * 300}])
    done = harness.mpirun(binary, 1, [*flags, f"--output={folder / 'out.jsonl'}"], 60)
    expect(done.returncode == 65 and "in.jsonl:1: the prompt's" in done.stderr, done.stderr)
    for wrong, word in (
        (["--prompts=a"], "--output"),
        (["--prompt=a", "--output=b"], "--output"),
        (["--prompt=a", "--top_p=0.5"], "--temperature"),
        (["--prompt=a", "--batch_size=2"], "--batch_size"),
        (["--prompt=a", "--raw", "--system=b"], "--raw"),
        (["--prompt=a", "--temperature=1", "--top_p=0"], "--top_p"),
    ):
        done = harness.mpirun(binary, 1, [*flags[:2], *wrong], 60)
        expect(done.returncode == 64 and word in done.stderr, f"{wrong}: {done.stderr}")
    return f"{len(told)} lines"


def the_runs_own_result(binary, scratch):
    folder = fresh(scratch, "own")
    config = harness.run_config(folder, harness.load_golden(), "lora", 4)
    config["optimizer"]["learning_rate"] = 0.05
    path = harness.write_config(folder, config)
    ask = ["generate", f"--config={path}", "--prompt=Hi", "--raw", f"--max_new_tokens={NEW}"]
    base = harness.run_or_fail(binary, 1, ask).stdout
    expect("the base alone answers" in base, base)
    harness.train(binary, folder, 1, config)
    own = harness.run_or_fail(binary, 1, ask).stdout
    expect("the run's own adapter" in own, own)
    expect(own.splitlines()[-1] != base.splitlines()[-1], "the adapter changes nothing")
    given = harness.run_or_fail(binary, 1, [*ask, f"--adapter={folder / 'out' / 'adapter'}"]).stdout
    expect(given.splitlines()[-1] == own.splitlines()[-1], f"{given!r} is not {own!r}")
    full = harness.run_config(folder, harness.load_golden(), "full", 4)
    full["output_dir"] = str(folder / "full")
    harness.train(binary, folder, 1, full)
    said = harness.run_or_fail(binary, 1, ask).stdout
    expect("the run's own model" in said, said)
    return "base, adapter, model"


def chat(binary, ranks, lines, *flags):
    command = ["mpirun", "-np", str(ranks), str(binary), "chat", *flags]
    done = subprocess.run(
        command,
        env={**os.environ, **harness.MPI_ENVIRONMENT},
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    expect(done.returncode == 0, f"exit {done.returncode}: {done.stderr}")
    return done.stdout


def a_conversation_through_a_pipe(binary, scratch):
    folder = fresh(scratch, "chat")
    flags = ["--max_new_tokens=6"]

    def answer(messages):
        path = write_rows(folder / "in.jsonl", [{"messages": messages}])
        at = [f"--config={config_of(folder)}", f"--prompts={path}"]
        return generated(binary, folder, 1, *at, *flags)[0]["text"]

    def user(text):
        return {"role": "user", "content": text}

    first = answer([user("Hi")])
    second = answer([user("Hi"), {"role": "assistant", "content": first}, user("So?")])
    system = answer([{"role": "system", "content": "Brief"}, user("Hi")])
    lines = ["Hi", "", "So?", "/reset", "/system Brief", "Hi", "/what", "/exit", "never read"]
    for ranks, changes in ((1, {}), (2, {"parallel": {"pipeline": 2}}), (2, {"parallel": {"tensor": 2}})):
        said = chat(binary, ranks, lines, f"--config={config_of(folder, **changes)}", *flags)
        at = 0
        for want in (first, second, "(forgotten)", "(the system's words are set)", system, "(/reset"):
            found = said.find(want, at)
            expect(found >= 0, f"{ranks} ranks: {want!r} is missing behind {at} in {said!r}")
            at = found + len(want)
    ended = chat(binary, 1, ["Hi"], f"--config={config_of(folder)}", *flags)  # by the pipe's end
    expect(first in ended, ended)
    return f"{first!r}, {second!r}"


def main():
    binary = Path(sys.argv[1])
    arguments = sys.argv[2:]
    counts = [int(each.removeprefix("--prompts=")) for each in arguments if each.startswith("--prompts=")]
    families = [each for each in arguments if not each.startswith("--")]
    torch.set_num_threads(1)
    checks = [
        (f"greedy answers of {case} are transformers'", partial(greedy_is_transformers, case=case, count=(counts or [20])[0]))
        for case in families or FAMILIES
    ]
    if not families:
        checks += [
            ("conversations are rendered as transformers does", conversations),
            ("draws are the same in every layout", draws_are_keyed),
            ("bad rows are told by their lines", bad_rows_are_told),
            ("a run's own result answers", the_runs_own_result),
            ("chat", a_conversation_through_a_pipe),
        ]
    with harness.scratch_folder() as scratch:
        folder = Path(scratch)
        harness.run_checks([(name, partial(check, binary, folder)) for name, check in checks])


if __name__ == "__main__":
    main()
