"""masks_beside_trl.py FTTRAIN: ids and labels beside those of TRL's SFTTrainer, from the same rows and folders.

`fttrain data --ids` on one side, SFTTrainer._prepare_dataset on the other: assistant_only_loss on conversations, whose
templates TRL exchanges for ones with {% generation %}, and completion_only_loss on prompts with completions, strings and
conversations. Prints what only one of them learns. Ends with 1 where ids differ, or labels in a way that README.md here
does not list. Needs trl, which the tests do not: without it nothing is compared, and it ends with 77.
"""
import collections
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import types

os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
if importlib.util.find_spec("trl") is None:
    print("no trl: nothing was compared; pip install trl==1.16.0 into an environment of its own", file=sys.stderr)
    sys.exit(77)

import datasets
import transformers
import trl
from trl.chat_template_utils import get_training_chat_template

sys.path.insert(0, str(pathlib.Path(__file__).parent / "jinja"))
import masks_over_templates as over
from conversations import a, s, u

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parents[1] / "golden" / "data"
TEMPLATES = pathlib.Path(trl.__file__).parent / "chat_templates"
FAMILIES = {  # template: tokenizer, end of a text
    "qwen3": ("qwen2", "<|im_end|>"),
    "qwen2_5": ("qwen2", "<|im_end|>"),
    "llama3": ("llama3", "<|eot_id|>"),
    "gemma3": ("smollm2", "<eos>"),
    "phi3": ("smollm2", "<|endoftext|>"),
}
WORDS = ["sun", " moon", "\n", "42", "caf\u00e9", "\u4e2d\u6587", "```py\nx = 1\n```", " ", "\U0001f600", "It's", "- a\n- b", "<tag>", "{{ x }}"]
CONVERSATIONS = {title: turns for title, turns in over.CONVERSATIONS.items() if title != "some learn"}  # TRL has one mask for all turns
CONVERSATIONS |= {f"mixed {n}": [*([s(f"Rule {n}.")] if n % 3 == 0 else []),
                                 *[m for i in range(1 + n % 4)
                                   for m in (u("".join(WORDS[(n * 5 + i + k * 7) % len(WORDS)] for k in range(1 + n % 5)) + "?"),
                                             a("Well, " + "".join(WORDS[(n + i * 3 + k) % len(WORDS)] for k in range(2 + n % 6)) + "."))]]
                  for n in range(24)}
PAIRS = {
    "space in front": ("The sky is", " blue."), "space behind": ("The sky is ", "blue."), "no space": ("3 + 4 =", "7"),
    "empty prompt": ("", "All of this is learnt."), "newline": ("Q: Who?\nA:", "\nNadia."), "inside a word": ("un", "believable"),
    "inside a number": ("1234", "567"), "\u4e2d\u6587": ("\u4e2d", "\u6587\u5b57"), "emoji": ("Smile ", "\U0001f600\U0001f680"),
    "code": ("def f(x):\n", "    return x\n"), "an end of its own": ("a", "b{eos}"), "end in the prompt": ("a{eos}", "b"),
    "spaces": ("x   ", "   y"), "quotes": ('He said "', 'no"'), "long": ("word " * 60, "answer " * 30),
}
# What may be learnt by theirs only, as README.md says; anything else fails.
KNOWN = re.compile(r"'\\n'|'\\n<\|endoftext\|>'|'\\n<\|im_start\|>user\\n<tool_response>.*<\|im_start\|>assistant\\n'")


def write_folder(folder, family, template):
    tokenizer, eos = FAMILIES[family]
    file = json.loads((GOLDEN / f"{tokenizer}.tokenizer.json").read_text(encoding="utf-8"))
    known = {*file["model"]["vocab"], *(token["content"] for token in file["added_tokens"])}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    for token in [t for t in [*over.tokens_of(template), eos] if t not in ("<s>", "</s>") and t not in known]:
        file["added_tokens"].append({"id": len(known), "content": token, **flags})
        known.add(token)
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(file), encoding="utf-8")
    bos = {"bos_token": "<|begin_of_text|>"} if tokenizer == "llama3" else {}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eos, **bos}))
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def ours(binary, folder, rows, format):
    """{row: (ids, learnt places)} of those that are not refused."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = folder / "run.json"  # JSON is YAML
    config.write_text(json.dumps({
        "model": {"path": str(folder)}, "output_dir": str(folder / "out"), "train": {"num_epochs": 1},
        "data": {"train": [{"path": str(path), "format": format}], "sequence_len": 100000, "on_bad_row": "skip"}}))
    done = subprocess.run([binary, "data", f"--config={config}", "-n100000", "--ids"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"fttrain data: {done.stderr}")
    examples = {}
    for line in done.stdout.split("\n== what is trained on")[0].splitlines():
        if head := re.match(r"== example .*rows\.jsonl:(\d+), ", line):
            row = examples.setdefault(int(head[1]) - 1, ([], set()))
        elif token := re.match(r" *(\d+) +(\d+) ([ *]) ", line + " "):
            if token[3] == "*":
                row[1].add(len(row[0]))
            row[0].append(int(token[2]))
    return examples


def theirs(tokenizer, row, template, assistant_only):
    args = types.SimpleNamespace(dataset_num_proc=None, dataset_text_field="text", assistant_only_loss=assistant_only, max_length=None,
                                 truncation_mode="keep_start", shuffle_dataset=False, seed=0)
    trainer = types.SimpleNamespace(_tokenizer=tokenizer, chat_template=template, completion_only_loss="completion" in row)
    if "tools" in row:
        row = {**row, "tools": json.dumps(row["tools"])}  # a table would give each of them the keys of all
    rows = datasets.Dataset.from_list([row], on_mixed_types="use_json")
    prepared = trl.SFTTrainer._prepare_dataset(trainer, rows, tokenizer, args, False, None, "rows")[0]
    # The first label never counts: nothing comes before it.
    return prepared["input_ids"], {i for i, label in enumerate(prepared["labels"]) if label != -100 and i > 0}


def over_border(tokenizer, row):
    """The token of a prompt's end and a completion's beginning, where both are strings."""
    if not isinstance(row.get("prompt"), str):
        return set()
    offsets = tokenizer(row["prompt"] + row["completion"], return_offsets_mapping=True)["offset_mapping"]
    return {i for i, (begin, end) in enumerate(offsets) if begin < len(row["prompt"]) < end}


def runs(tokenizer, ids, places):
    out = []
    for place in sorted(places):
        if out and place == out[-1][-1] + 1:
            out[-1].append(place)
        else:
            out.append([place])
    return [repr(tokenizer.decode([ids[i] for i in run])) for run in out]


def said(text):
    return re.sub(r"<think>.*?</think>|\s", "", text, flags=re.DOTALL)


def compare(binary, folder, tokenizer, rows, template, count, seen):
    mine = ours(binary, folder, [row for _, row in rows], "prompt_completion" if "completion" in rows[0][1] else "messages")
    for number, (title, row) in enumerate(rows):
        try:
            ids, learnt = theirs(tokenizer, row, template, assistant_only="messages" in row)
        except Exception as error:  # a template's own refusal, or TRL's
            count["theirs refuses" if number in mine else "both refuse"] += 1
            seen[f"theirs refuses: {type(error).__name__} {str(error).splitlines()[0][:60]}"].append(title)
            continue
        if number not in mine:
            count["ours refuses"] += 1
            seen["ours refuses"].append(title)
            continue
        own_ids, own = mine[number]
        texts = tokenizer.decode(own_ids), tokenizer.decode(ids)
        # Training templates may write earlier turns otherwise: then the tokens that both end with are compared.
        if own_ids != ids and (template is None or said(texts[0]) != said(texts[1])):
            count["OTHER IDS"] += 1
            seen[f"OTHER IDS: {texts[0]!r} / {texts[1]!r}"].append(title)
            continue
        first = len(ids) - len(os.path.commonprefix([own_ids[::-1], ids[::-1]]))
        own = {i for place in own if (i := place + len(ids) - len(own_ids)) >= first}
        learnt = {i for i in learnt if i >= first}
        shared = over_border(tokenizer, row) & learnt - own
        only_theirs, only_ours = runs(tokenizer, ids, learnt - own - shared), runs(tokenizer, ids, own - learnt)
        known = not only_ours and all(KNOWN.fullmatch(run) for run in only_theirs)
        what = "DIFFERENT" if not known else "known difference" if only_theirs or shared else "equal"
        count[what if own_ids == ids else f"other thoughts in earlier turns, then {what}"] += 1
        for difference in {*(f"only theirs: {run}" for run in only_theirs), *(f"only ours: {run}" for run in only_ours),
                           *(f"only theirs, over the border: {run}" for run in runs(tokenizer, ids, shared))}:
            seen[difference].append(title)


def as_pair(turns):
    last = max((i for i, turn in enumerate(turns) if turn["role"] == "user"), default=None)
    if last is None or last + 1 == len(turns) or turns[-1]["role"] != "assistant":
        return None
    return {"prompt": turns[: last + 1], "completion": turns[last + 1 :]}


def main():
    binary, totals = str(pathlib.Path(sys.argv[1]).resolve()), collections.Counter()
    with tempfile.TemporaryDirectory() as scratch:
        for family, (_, eos) in FAMILIES.items():
            plain = (TEMPLATES / f"{family}.jinja").read_text(encoding="utf-8")
            tagged = (TEMPLATES / f"{family}_training.jinja").read_text(encoding="utf-8")
            tools = {title: {"tools": over.TOOLS} for title in over.WITH_TOOLS}
            talks = [(title, {"messages": turns, **tools.get(title, {})}) for title, turns in CONVERSATIONS.items()]
            pairs = [(title, {**as_pair(turns), **tools.get(title, {})}) for title, turns in CONVERSATIONS.items() if as_pair(turns)]
            strings = [(title, {"prompt": p.format(eos=eos) if "{eos}" in p else p, "completion": c.format(eos=eos) if "{eos}" in c else c})
                       for title, (p, c) in PAIRS.items()]
            for kind, template, rows in (("assistant_only, its own template", plain, talks), ("assistant_only, TRL's training template", tagged, talks),
                                         ("completion_only, conversations", plain, pairs), ("completion_only, strings", plain, strings)):
                folder = pathlib.Path(scratch, f"{family}-{len(os.listdir(scratch))}")
                write_folder(folder, family, template)
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
                exchanged = get_training_chat_template(tokenizer) if template is plain and rows is talks else None
                count, seen = collections.Counter(), collections.defaultdict(list)
                compare(binary, folder, tokenizer, rows, exchanged, count, seen)
                totals += count
                print(f"{family} | {kind} | {dict(count)}", flush=True)
                for what, titles in sorted(seen.items()):
                    print(f"    {what[:230]} | {len(titles)}: {', '.join(titles)[:90]}")
    print(f"{sum(totals.values())} rows: {dict(totals)}")
    return 1 if any(what.endswith(("OTHER IDS", "DIFFERENT")) for what in totals) else 0


if __name__ == "__main__":
    sys.exit(main())
