#!/usr/bin/env python3
"""data_test.py BINARY: `fttrain data` shows what `fttrain train` learns.

The numbers are those that the run prints; what stands in brackets is what has a label; a page says
the same as the text.
"""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import harness
import tiny_models

USAGE, BAD_FILE, MISSING = 64, 65, 66


def said(binary, *arguments, fails=None):
    """stdout of `fttrain data ...`; with `fails`, stderr of one that ends with this code."""
    environment = {**os.environ, **harness.MPI_ENVIRONMENT}
    done = subprocess.run(
        [str(binary), "data", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode != (fails or 0):
        raise harness.Failure(f"exit {done.returncode}: {done.stderr or done.stdout}"[:600])
    return done.stderr if fails else done.stdout


def must_have(text, *wanted):
    for want in wanted:
        if want not in text:
            raise harness.Failure(f"{want!r} is not in {text!r}"[:1500])


def dialogues(count):
    """ShareGPT rows of several lengths, the third twice if there are more; nothing reads their id."""
    rows = []
    for i in range(count):
        turns = [{"from": "human", "value": "Count " * (1 + i % 7)}]
        turns += [{"from": "gpt", "value": f"No {i}." * (1 + i % 3)}]
        rows.append({"id": i, "conversations": turns * (1 + i % 2)})
    if count > 3:
        rows[3]["conversations"] = rows[2]["conversations"]
    return rows


def prepare(scratch, name, rows, **data):
    folder = Path(scratch) / name
    folder.mkdir()
    tiny_models.write_case("llama_grouped", folder)
    tiny_models.write_rows(folder / "rows.jsonl", rows)
    config = harness.run_config(folder, harness.load_golden(), "lora", 1)
    config["data"] = {"train": [{"path": str(folder / "rows.jsonl")}], "sequence_len": 160, **data}
    del config["train"]["max_steps"]
    config["train"]["num_epochs"] = 1
    return folder, harness.write_config(folder, config)


def number(text):
    return int(text.replace(",", ""))


def numbers_of_the_run(binary, scratch):
    for name, ranks, data in [
        ("packed", 2, {}),
        ("cut", 1, {"sequence_len": 48, "packing": False}),
        ("each", 2, {"turns": "each"}),
        ("prompt", 1, {"train_on": "prompt"}),
        ("last", 1, {"train_on": "last", "shuffle": False}),
    ]:
        _, config = prepare(scratch, name, dialogues(23), **data)
        told = json.loads(said(binary, config, "--json", f"--ranks={ranks}"))
        done = harness.run_or_fail(binary, ranks, ["train", f"--config={config}"])
        line = re.search(
            r"^data +(\d+) examples, ([\d,]+) tokens, ([\d,]+) with a target .*?, (\d+) rows an epoch(.*)$",
            done.stdout,
            re.MULTILINE,
        )
        steps = re.search(
            r"^batch +(\d+) rows a step = .*; (\d+) steps?(?:; the last has the (\d+) rows? .*)?$",
            done.stdout,
            re.MULTILINE,
        )
        trained = [number(n) for n in (*line.groups()[:4], *steps.groups()[:2], steps[3] or steps[1])]
        shown = [
            told[key]
            for key in ("examples", "tokens", "learnt_tokens", "rows_per_epoch", "rows_per_step", "steps",
                        "rows_of_last_step")
        ]
        if trained != shown:
            raise harness.Failure(f"{name}: trained on {trained}, shown {shown}")
        if (name == "cut") != (told["cut"]["examples"] > 0) or (" cut to " in line[5]) != (name == "cut"):
            raise harness.Failure(f"{name}: {told['cut']}, {line[5]}")
        must_have(done.stdout, "(rows have ", "columns not used: id (23 rows)")
    return "as the run's, in 5 settings"


def learnt_text(binary, scratch):
    rows = [
        {
            "conversations": [
                {"from": "human", "value": "Say\tit."},
                {"from": "gpt", "value": "\u00e9t\u00e9\nok"},
            ]
        }
    ]
    folder, _ = prepare(scratch, "text", rows)
    arguments = [f"--model={folder / 'model'}", f"--input={folder / 'rows.jsonl'}"]
    text = said(binary, *arguments)
    must_have(
        text,
        "== example 1 of 1: ",
        "<|im_start|>user\u21b5\nSay\u21e5it.<|im_end|>\u21b5\n"
        "<|im_start|>assistant\u21b5\n[[\u00e9t\u00e9\u21b5\nok<|im_end|>]]\u21b5\n",
        "sharegpt (rows have ",
        "the run    1 step = 1 epoch\n",
    )
    if "\x1b" in text:
        raise harness.Failure("colours in a pipe")
    must_have(said(binary, *arguments, "--color=always"), "\x1b[36m<|im_start|>\x1b[0m", "\x1b[32mok\x1b[0m")
    must_have(said(binary, *arguments, "--ids"), "     0     256   <|im_start|>\n", " * <|im_end|>\n")
    everything = said(binary, *arguments, "data.train_on=prompt")
    must_have(everything, "<|im_start|>[[user\u21b5\nSay")
    return "in brackets, in colours, with ids"


def choice_of_examples(binary, scratch):
    _, config = prepare(scratch, "choice", dialogues(9))
    heads = lambda text: re.findall(r"^== example (\d+) of 9: ", text, re.MULTILINE)
    for arguments, want in [
        ((), ["1", "2", "3"]),
        (("-n", "5"), ["1", "2", "3", "4", "5"]),
        (("-n0",), []),
        (("--example=8",), ["8"]),
        (("--find", "No 6.", "-n2"), ["7"]),
    ]:
        got = heads(said(binary, config, *arguments))
        if got != want:
            raise harness.Failure(f"{arguments}: examples {got}, not {want}")
    return "first, numbered, found"


def strange_things(binary, scratch):
    rows = dialogues(6)
    rows.insert(1, {"id": 1, "conversations": [{"from": "human"}]})
    folder, config = prepare(scratch, "strange", rows, on_bad_row="skip")
    path = folder / "model" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": "<|im_end|>"}))
    told = json.loads(said(binary, config, "--json"))
    kinds = [warning["kind"] for warning in told["warnings"]]
    if kinds[:1] != ["skipped_rows"] or "duplicates" not in kinds or "pad_is_eos" not in kinds:
        raise harness.Failure(f"warnings {kinds}")
    if told["files"][0]["skipped"] != 1 or told["duplicates"] != 1:
        raise harness.Failure(f"{told['files']}, {told['duplicates']} duplicates")
    must_have(said(binary, config), "== worth a look\n", "7 rows, 1 skipped", "skipped ", "rows.jsonl:2: ")
    return ", ".join(kinds)


def special_texts(binary, scratch):
    """Two of three rows spell a special token; in transformers, too, it is that token's id."""
    import packages  # noqa: F401
    from transformers import AutoTokenizer

    said_so = "end: <|im_end|>, begin: <|im_start|>"
    rows = dialogues(3)
    rows[1]["conversations"][0]["value"] = said_so
    rows[2]["conversations"][1]["value"] = "<|im_end|>" + said_so
    folder, config = prepare(scratch, "special", rows)
    told = json.loads(said(binary, config, "--json"))
    warnings = {warning["kind"]: warning["text"] for warning in told["warnings"]}
    must_have(
        warnings.get("special_texts", ""),
        "2 rows with the text of a special token in a message (the first: ",
        "rows.jsonl:2: message 0 (user) has <|im_end|>, where the turn ends for the model)",
    )
    must_have(said(binary, config), "2 rows have the text of a special token in a message")
    theirs = AutoTokenizer.from_pretrained(folder / "model")(said_so, add_special_tokens=False)["input_ids"]
    listed = said(binary, config, "--ids", "--example=2")
    ours = [int(n) for n in re.findall(r"^ *\d+ +(\d+) [ *] ", listed, re.MULTILINE)]
    if not any(ours[i : i + len(theirs)] == theirs for i in range(len(ours))):
        raise harness.Failure(f"{ours} has not {theirs} in it")
    return "2 rows of 3, with transformers' ids"


def shifted_labels(binary, scratch):
    ids = list(range(20, 40))
    good, shifted = {"input_ids": ids, "labels": ids}, {"input_ids": ids, "labels": [*ids[1:], -100]}
    _, config = prepare(scratch, "shifted", [good, shifted, good])
    warnings = {w["kind"]: w["text"] for w in json.loads(said(binary, config, "--json"))["warnings"]}
    must_have(warnings.get("shifted_labels", ""), "1 row of ready-made tokens (the first: ", "rows.jsonl:2)")
    _, config = prepare(scratch, "all_shifted", [shifted] * 3)
    must_have(said(binary, config, fails=BAD_FILE), "'labels' are shifted already")
    return "some are warned of, all are refused"


def empty_prompts(binary, scratch):
    _, config = prepare(scratch, "empty_prompt", [{"prompt": "", "completion": "All of it."}])
    must_have(said(binary, config), "prompt_completion (rows have 'prompt' and 'completion')", "[[ll of it.<|im_end|>]]")
    return "are found, and all is learnt but what nothing comes before"


class Page(HTMLParser):
    """What a page shows, and the text of the spans that are learnt; tags must match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.learnt = [], [], []
        self.feed(text)
        if self.open:
            raise harness.Failure(f"tags left open: {self.open}")

    def handle_starttag(self, tag, attributes):
        if tag != "meta":
            self.open.append((tag, dict(attributes).get("class", "") or ""))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop()[0] != tag:
            raise harness.Failure(f"</{tag}> closes something else")

    def handle_data(self, data):
        self.text.append(data)
        if "l" in self.open[-1][1].split() if self.open else False:
            self.learnt.append(data)


def page(binary, scratch):
    rows = dialogues(3)
    rows[0]["conversations"] = [
        {"from": "human", "value": "</pre><script>alert(1)</script> & \"so\" 'on'"},
        {"from": "gpt", "value": "<b>1 < 2</b>"},
    ]
    folder, config = prepare(scratch, "page", rows)
    must_have(said(binary, config, f"--html={folder / 'page.html'}"), "saved      ")
    text = (folder / "page.html").read_text(encoding="utf-8")
    shown = Page(text)
    must_have("".join(shown.text), "</pre><script>alert(1)</script> & \"so\" 'on'", "Examples by tokens")
    must_have("".join(shown.learnt), "<b>1 < 2</b><|im_end|>")
    if re.search(r"<script|https?:|url\(", text.replace("&lt;script", "")):
        raise harness.Failure("the page has a script, or asks for something from elsewhere")
    return f"{len(text)} bytes, tags match, text is text"


def refusals(binary, scratch):
    folder, config = prepare(scratch, "refused", dialogues(3))
    cases = [
        (USAGE, [config, "--json", "-n3"], "--json prints no examples"),
        (USAGE, [config, "--example=4"], "--example=4: there are 3 examples"),
        (USAGE, [config, "--find=heron"], "no example has this text"),
        (USAGE, [config, "--color=green"], "must be auto, always or never"),
        (USAGE, [config, "-n", "x"], "--n=x: must be a number of examples"),
        (USAGE, [config, "--ranks=3", "parallel.tensor=2"], "must divide the number of ranks"),
        (USAGE, [config, "data.date=tomorrow"], "must be a day written YYYY-MM-DD"),
        (MISSING, [config, "--input=absent.jsonl"], "absent.jsonl"),
        (MISSING, [config, "--model=absent"], "absent: no such folder"),
    ]
    for code, arguments, want in cases:
        must_have(said(binary, *arguments, fails=code), want)
    done = harness.mpirun(binary, 2, ["data", config], 60)
    if done.returncode != USAGE:
        raise harness.Failure(f"two ranks: exit {done.returncode}")
    must_have(done.stderr, "leave out mpirun, and write --ranks=2")
    return f"{len(cases) + 1} of them"


def main():
    binary = Path(sys.argv[1])
    with harness.scratch_folder() as scratch:
        checks = [numbers_of_the_run, learnt_text, choice_of_examples, strange_things, special_texts, shifted_labels,
                  empty_prompts, page, refusals]
        harness.run_checks(
            [(check.__name__, lambda check=check: check(binary, scratch)) for check in checks]
        )


if __name__ == "__main__":
    main()
