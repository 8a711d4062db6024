#!/usr/bin/env python3
"""check_test.py BINARY [WORDS]: `fttrain check` tries a run whole in any layout and leaves nothing behind; it ends at
what would spoil the run, with a line that says so; and `fttrain init` prints a config that passes it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import harness
import tiny_models
from recipes_test import GLM4, template_of, with_tokens

USAGE, BAD_FILE, CANNOT_CREATE, CANNOT_WRITE = 64, 65, 73, 74
CASE = "llama_grouped"
STAGES = ["data", "plan", "output", "load", "train", "resume", "evaluate", "export"]
LIMIT_SECONDS = 120

# (ranks, method, keys)
LAYOUTS = [
    (1, "lora", {}),
    (1, "full", {"optimizer": {"state": "int8"}}),
    (1, "qlora", {"memory": {"base_weights": "disk"}, "parallel": {"pipeline_schedule": "layer_major"}}),
    (2, "lora", {"parallel": {"tensor": 2}, "precision": {"compute": "bf16"}}),
    (2, "qlora", {"parallel": {"pipeline": 2}}),
    (2, "full", {"parallel": {"zero_stage": 3}}),
    (2, "lora", {"parallel": {"zero_stage": 2}, "train": {"gradient_accumulation_steps": 12}}),
]


def conversations(count):
    turns = lambda i: [
        {"role": "user", "content": "Count " * (1 + i % 5)},
        {"role": "assistant", "content": f"No {i}."},
    ]
    return [{"messages": turns(i)} for i in range(count)]


def prepare(scratch, name, method="lora", rows=None, case=CASE, **keys):
    folder = Path(scratch) / name
    folder.mkdir()
    tiny_models.write_case(case, folder)
    if rows is not None:
        tiny_models.write_rows(folder / "rows.jsonl", rows)
    config = harness.run_config(folder, harness.load_golden(), method, 20, **keys)
    if rows is not None:
        config["data"]["train"][0]["format"] = "auto"
        config["data"]["sequence_len"] = 96
    config["output_dir"] = str(folder / "deep" / "out")
    return folder, config


def everything(folder):
    return {str(f.relative_to(folder)): f.read_bytes() if f.is_file() else None for f in folder.rglob("*")}


def run(binary, folder, config, ranks, *flags):
    """The process and what it said; the folder must be as it was."""
    path = harness.write_config(folder, config)
    before = everything(folder)
    done = harness.mpirun(binary, ranks, ["check", f"--config={path}", *flags], LIMIT_SECONDS)
    if (after := everything(folder)) != before:
        changed = sorted(name for name in {**before, **after} if before.get(name) != after.get(name))
        raise harness.Failure(f"left behind or changed: {changed}")
    return done


def passes(binary, folder, config, ranks, *flags, exact=True):
    done = run(binary, folder, config, ranks, "--json", *flags)
    if done.returncode != 0:
        raise harness.Failure(f"exit {done.returncode}: {done.stderr[-1500:]}")
    report = json.loads(done.stdout)
    stages = [stage["stage"] for stage in report["stages"]]
    if not report["passed"] or stages != STAGES:
        raise harness.Failure(f"stages {stages}, passed {report['passed']}")
    for peak in report["memory"]["ranks"]:
        if not peak["equal"] or peak["planned"] < peak["measured"] or exact and peak["planned"] != peak["measured"]:
            raise harness.Failure(f"memory is not as planned: {peak}, {report['warnings']}")
    if len(report["memory"]["ranks"]) != ranks:
        raise harness.Failure(f"{len(report['memory']['ranks'])} ranks of {ranks}")
    return report


def refused(binary, folder, config, ranks, code, pattern, *flags):
    done = run(binary, folder, config, ranks, *flags)
    if done.returncode != code:
        raise harness.Failure(f"exit {done.returncode}, {code} expected: {done.stderr[-800:]}")
    lines = [line for line in done.stderr.splitlines() if line.startswith("fttrain: error")]
    if len(lines) != 1 or not re.search(pattern, lines[0]):
        raise harness.Failure(f"{lines} does not say /{pattern}/")
    if not re.search(r"^in all +[\d.]+  NO$", done.stdout, re.MULTILINE):
        raise harness.Failure(f"no report: {done.stdout[-500:]}")
    return lines[0].removeprefix("fttrain: ")[:150]


def layouts(binary, scratch):
    for i, (ranks, method, keys) in enumerate(LAYOUTS):
        folder, config = prepare(scratch, f"layout{i}", method, **keys)
        report = passes(binary, folder, config, ranks)
        for stage, words in [("resume", "all bits as without a stop"), ("export", "to the bit")]:
            text = next(each["text"] for each in report["stages"] if each["stage"] == stage)
            if words not in text:
                raise harness.Failure(f"{stage}: {text}")
        if report["run"]["steps"] != 20 or report["run"]["seconds"] <= 0:
            raise harness.Failure(f"of the run: {report['run']}")
    return f"{len(LAYOUTS)} layouts, bytes as planned"


def experts(binary, scratch):
    """A plan is of the worst choice of experts; that a run makes a better one is no warning."""
    folder, config = prepare(scratch, "experts", "full", case="mixtral")
    report = passes(binary, folder, config, 2, exact=False)
    if any("not as planned" in warning for warning in report["warnings"]):
        raise harness.Failure(f"warnings: {report['warnings']}")
    return f"{report['memory']['ranks'][0]}"


def short_steps(binary, scratch):
    """Fewer microbatches than the run's, and a few steps in place of epochs, whose number is told."""
    folder, config = prepare(scratch, "epochs", rows=conversations(60), parallel={"pipeline": 2})
    config["train"].update(num_epochs=2, gradient_accumulation_steps=8)
    del config["train"]["max_steps"]
    config["schedule"]["warmup_steps"] = 3
    report = passes(binary, folder, config, 2, "-n", "20")
    data, plan = report["stages"][0]["text"], report["stages"][1]["text"]
    for text, words in [(data, "20 rows of messages"), (plan, "steps of 4 of the run's 8 microbatches")]:
        if words not in text:
            raise harness.Failure(f"{text!r} does not say {words!r}")
    if not 7 <= report["run"]["steps"] <= 9:  # 2 x 60 rows by 16
        raise harness.Failure(f"of the run: {report['run']}")
    return plan


def text(binary, scratch):
    folder, config = prepare(scratch, "text", rows=conversations(40))
    done = run(binary, folder, config, 2)
    if done.returncode != 0:
        raise harness.Failure(done.stderr[-800:])
    for want in [r"^stage +seconds  ok$", r"^export +[\d.]+  yes +adapter read again", r"^in all .*yes$",
                 r"^memory +peak [\d,]+ bytes on rank \d, as planned, and so on every rank; .* free$",
                 r"^speed +\d+ tokens a second; the whole run, 20 steps or so, takes about "]:
        if not re.search(want, done.stdout, re.MULTILINE):
            raise harness.Failure(f"/{want}/ is not in {done.stdout[-1500:]}")
    return "a table, memory, speed"


def wrong_template(binary, scratch):
    """One whose tokens are another model's, one that writes otherwise, one without ends."""
    said = []
    folder, config = prepare(scratch, "template", rows=conversations(20))
    config["data"]["chat_template"] = "llama3"
    said.append(refused(binary, folder, config, 2, USAGE, r"llama3.*<\|eot_id\|>|<\|start_header_id\|>"))
    (folder / "ends.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
                                       "{% if add_generation_prompt %}assistant: {% endif %}")
    config["data"]["chat_template"] = str(folder / "ends.jinja")
    other = r"writes .*rows\.jsonl:1 otherwise than the model's own template: .*--accept=template"
    said.append(refused(binary, folder, config, 2, USAGE, other))
    no_end = r"no answer of the first 20 examples ends with a token that ends a turn .*set data\.chat_template"
    said.append(refused(binary, folder, config, 1, USAGE, no_end, "--accept=template"))
    report = passes(binary, folder, config, 1, "--accept=template,ends")
    if sum("template" in warning for warning in report["warnings"]) < 2:
        raise harness.Failure(f"warnings: {report['warnings']}")
    return said[-1]


def template_without_ends(binary, scratch):
    """Where the model's own template ends no answer, as GLM-4's, init takes one that does and else writes the same."""
    folder, config = prepare(scratch, "glm4", rows=conversations(40))
    model = folder / "model"
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tiny_models.write_json(model / "tokenizer.json", with_tokens(tokenizer, GLM4))
    (model / "chat_template.jinja").write_text(template_of("glm4"))
    done = init(binary, folder, f"--model={model}", "--data=rows.jsonl", f"--output_dir={folder / 'out'}")
    want = "  chat_template: glm4  # the model's own ends no answer with a token: this one writes the same, and an end\n"
    if done.returncode != 0 or want not in done.stdout:
        raise harness.Failure(f"exit {done.returncode}: {done.stdout}{done.stderr}")
    config["data"]["chat_template"] = "glm4"
    passes(binary, folder, config, 1)
    # Another's ends are no excuse for another's headers.
    config["data"]["chat_template"] = "chatml"
    refused(binary, folder, config, 1, USAGE, r"chatml writes .*otherwise than the model's own template")
    config["data"]["chat_template"] = "auto"
    return refused(binary, folder, config, 1, USAGE,
                   r"no answer .*though it is the model's own: set data\.chat_template to one that does \(.*glm4")


def all_masked(binary, scratch):
    rows = [{"input_ids": [5, 6, 7], "labels": [-100] * 3}] * 40 + [{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}]
    folder, config = prepare(scratch, "masked", rows=rows)
    return refused(binary, folder, config, 2, BAD_FILE, r"none of its first 32 rows has a token to learn", "-n32")


def tokenizer_of_another_model(binary, scratch):
    folder, config = prepare(scratch, "tokenizer", rows=conversations(20))
    path = folder / "model" / "tokenizer.json"
    content = json.loads(path.read_text())
    model = json.loads((folder / "model" / "config.json").read_text())
    for token in range(258, 1000):
        content["model"]["vocab"][f"word{token}"] = token
    tiny_models.write_json(path, content)
    return refused(binary, folder, config, 2, BAD_FILE,
                   rf"has 488 tokens without a row in the model's embedding of {model['vocab_size']} rows.*another model")


def does_not_fit(binary, scratch):
    folder, config = prepare(scratch, "fit", memory={"limit": 0.0002})
    return refused(binary, folder, config, 2, USAGE, r"the run does not fit: .* are memory\.limit: .* too much")


def unwritable(binary, scratch):
    folder, config = prepare(scratch, "output")
    (folder / "file").write_text("")
    config["output_dir"] = str(folder / "file" / "out")
    said = refused(binary, folder, config, 2, CANNOT_CREATE, r"output_dir .*/file/out: cannot write there")
    config["output_dir"] = str(folder / "there")
    (folder / "there").mkdir()
    (folder / "there" / "metrics.jsonl").write_text("of an earlier run")
    passes(binary, folder, config, 1)
    return said


def adapter_of_another_model(binary, scratch):
    folder, config = prepare(scratch, "adapter")
    shutil.rmtree(folder / "adapter_init")
    tiny_models.write_adapter("mistral", folder / "adapter_init")
    said = refused(binary, folder, config, 2, BAD_FILE, r"adapter_model\.safetensors: .*(do not fit|wrong shape)")
    shutil.rmtree(folder / "adapter_init")
    tiny_models.write_adapter(CASE, folder / "adapter_init")
    path = folder / "adapter_init" / "adapter_config.json"
    content = {**json.loads(path.read_text()), "base_model_name_or_path": "org/Another-7B"}
    tiny_models.write_json(path, content)
    report = passes(binary, folder, config, 1)
    if not any("was trained on org/Another-7B" in warning for warning in report["warnings"]):
        raise harness.Failure(f"warnings: {report['warnings']}")
    return said


def disk_is_full(binary, scratch):
    """What was written is gone after an error, too."""
    folder, config = prepare(scratch, "full")
    config["adapter"].update(r=64)
    del config["adapter"]["init_from"]
    path = harness.write_config(folder, config)
    before = everything(folder)
    wrapper = ("--mca", "btl", "self,tcp", "bash", "-c", 'trap "" XFSZ; ulimit -f 64; exec "$@"', "bash")
    done = harness.mpirun(binary, 2, ["check", f"--config={path}"], LIMIT_SECONDS, wrapper)
    if done.returncode != CANNOT_WRITE or everything(folder) != before:
        raise harness.Failure(f"exit {done.returncode}, {sorted(everything(folder))}: {done.stderr[-800:]}")
    return next(line for line in done.stderr.splitlines() if line.startswith("fttrain: "))[:150]


def wrong_flags(binary, scratch):
    folder, config = prepare(scratch, "flags")
    path = harness.write_config(folder, config)
    for flags, want in [(["-n", "9"], "--n=9: must be a number of rows, 10 to 100"),
                        (["--accept=all"], "--accept=all: must be of template, ends, tokenizer")]:
        done = harness.mpirun(binary, 1, ["check", f"--config={path}", *flags], 60)
        if done.returncode != USAGE or want not in done.stderr:
            raise harness.Failure(f"exit {done.returncode}: {done.stderr}")
    return "64"


def init(binary, scratch, *flags):
    environment = {**os.environ, **harness.MPI_ENVIRONMENT}
    done = subprocess.run([str(binary), "init", *map(str, flags)], env=environment, cwd=scratch,
                          capture_output=True, text=True, timeout=60)
    return done


def first_config(binary, scratch):
    """What init prints is checked, planned and trained as it is."""
    said = []
    for method, rows, format_ in [("qlora", conversations(40), "messages"),
                                  ("lora", [{"text": "abc " * 9}] * 200, "text"),
                                  ("full", [{"prompt": "a", "completion": "b"}] * 30, "prompt_completion")]:
        folder, _ = prepare(scratch, f"init-{method}", rows=rows)
        done = init(binary, folder, f"--model={folder / 'model'}", f"--method={method}", "--data=rows.jsonl",
                    "--output_dir=" + str(folder / "out"))
        if done.returncode != 0:
            raise harness.Failure(f"{method}: {done.stderr}")
        for want in [f"format: {format_}}}  # rows have ", "# Layout: ", "fttrain check run.yaml"]:
            if want not in done.stdout:
                raise harness.Failure(f"{want!r} is not in {done.stdout}")
        (folder / "run.yaml").write_text(done.stdout)
        for command in (["plan", "run.yaml", "--ranks=1"], ["check", "run.yaml"]):
            ran = subprocess.run([str(binary), *command], env={**os.environ, **harness.MPI_ENVIRONMENT}, cwd=folder,
                                 capture_output=True, text=True, timeout=LIMIT_SECONDS)
            if ran.returncode != 0:
                raise harness.Failure(f"{method}, {command}: {ran.stderr}")
        said.append(re.search(r"sequence_len: \d+", done.stdout)[0])
    return ", ".join(said)


def laid_out_for_a_rig(binary, scratch):
    """By the search of plan; the layout is one that two ranks of any kind can check."""
    folder, _ = prepare(scratch, "rig", rows=conversations(40))
    done = init(binary, folder, f"--model={folder / 'model'}", "--rig=2x4090", "--data=rows.jsonl", "--output_dir=out")
    if done.returncode != 0 or "# Layout: on 2 x RTX 4090: " not in done.stdout:
        raise harness.Failure(f"exit {done.returncode}: {done.stdout}{done.stderr}")
    (folder / "run.yaml").write_text(done.stdout)
    flags = [f"data.train.0.path={folder / 'rows.jsonl'}", f"output_dir={folder / 'out'}", "device=cpu"]
    harness.run_or_fail(binary, 2, ["check", folder / "run.yaml", *flags])
    done = init(binary, folder, f"--model={folder / 'model'}", "--rig=2xfoo", "--data=rows.jsonl")
    if done.returncode != USAGE or "is no known card" not in done.stderr:
        raise harness.Failure(f"exit {done.returncode}: {done.stderr}")
    return re.search(r"# Layout: .*", (folder / "run.yaml").read_text())[0]


def longer_rows_than_positions(binary, scratch):
    """Examples that share a row may have positions that it has not; a longer example may not."""
    rows = [{"text": "abc " * 9}] * 600
    folder, _ = prepare(scratch, "positions", rows=rows)
    flags = [f"--model={folder / 'model'}", "--data=rows.jsonl", "--sequence_len=300", f"--output_dir={folder / 'out'}"]
    done = init(binary, folder, *flags)
    if done.returncode != 0 or "rows of 300 tokens are longer than the 256 " not in done.stderr:
        raise harness.Failure(f"exit {done.returncode}: {done.stderr}")
    if "packing: true" not in done.stdout:
        raise harness.Failure(done.stdout)
    (folder / "run.yaml").write_text(done.stdout)
    harness.run_or_fail(binary, 1, ["check", folder / "run.yaml", f"data.train.0.path={folder / 'rows.jsonl'}"])
    noted = json.loads(harness.run_or_fail(binary, 1, ["plan", folder / "run.yaml", "--ranks=1", "--json"]).stdout)["notes"]
    if not any("longer than the 256 " in note for note in noted):
        raise harness.Failure(f"plan notes {noted}")
    tiny_models.write_rows(folder / "rows.jsonl", [{"text": "abc " * 99}, *rows])
    done = init(binary, folder, *flags)
    if done.returncode != USAGE or done.stdout or "max_position_embeddings 256" not in done.stderr:
        raise harness.Failure(f"exit {done.returncode}: {done.stdout}{done.stderr}")
    return noted[0]


def first_config_refused(binary, scratch):
    folder, _ = prepare(scratch, "init-bad", rows=[{"foo": 1}])
    model, data = f"--model={folder / 'model'}", f"--data={folder / 'rows.jsonl'}"
    for flags, code, want in [([model], USAGE, "'init' needs --model=FOLDER and --data=FILE"),
                              ([model, data, "--method=dora"], USAGE, "must be lora, qlora or full"),
                              ([model, data], BAD_FILE, "no format is known by the keys of this row, 'foo'"),
                              ([f"--model={folder}/none", data], 66, "init-bad/none")]:
        done = init(binary, folder, *flags)
        if done.returncode != code or want not in done.stderr or done.stdout:
            raise harness.Failure(f"{flags}: exit {done.returncode}, {done.stderr}")
    return "64, 65, 66"


def main():
    binary = Path(sys.argv[1]).resolve()
    checks = [layouts, experts, short_steps, text, wrong_template, template_without_ends, all_masked,
              tokenizer_of_another_model, does_not_fit, unwritable, adapter_of_another_model, disk_is_full, wrong_flags, first_config,
              laid_out_for_a_rig, longer_rows_than_positions, first_config_refused]
    with harness.scratch_folder() as scratch:
        harness.run_checks([(check.__name__, lambda check=check: check(binary, scratch)) for check in checks
                            if not sys.argv[2:] or any(word in check.__name__ for word in sys.argv[2:])])


if __name__ == "__main__":
    main()
