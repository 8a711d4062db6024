"""masks_beside_transformers.py PROGRAM TOKENIZER_JSON TEMPLATES_FOLDER: masks beside return_assistant_tokens_mask.

Of every template with {% generation %} blocks (TRL's and axolotl's training templates): what transformers masks, what
PROGRAM (chat_targets) masks, and what it masks when the blocks are taken out and it has to find the borders itself. Prints
where they differ, by template: what only one of them learns.
"""
import collections
import datetime
import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "jinja"))
import masks_over_templates as over
import oracle

oracle.NOW = datetime.datetime(2024, 7, 26)

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def as_transformers_passes(messages):
    """transformers 5's _normalize_chat_messages and _alias_reasoning_fields."""
    out = []
    for message in messages:
        message = {key: value for key, value in message.items() if value is not None and key != "learn"}
        reasoning = next((message[key] for key in ("reasoning_content", "thinking", "reasoning") if key in message), None)
        out.append(message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning})
    return out


def without_blocks(template):
    template = re.sub(r"\{%([-+]?)\s*generation\s*([-+]?)%\}", r"{%\1 if true \2%}", template)
    return re.sub(r"\{%([-+]?)\s*endgeneration\s*([-+]?)%\}", r"{%\1 endif \2%}", template)


def bytes_of(spans):
    return {i for begin, end in spans for i in range(begin, end)}


def runs(text, places):
    """The pieces of text at these places."""
    out, last = [], None
    for place in sorted(places):
        if last is None or place != last + 1:
            out.append(bytearray())
        out[-1].append(text[place])
        last = place
    return [bytes(run).decode(errors="replace") for run in out]


def main():
    program = subprocess.Popen(sys.argv[1:3], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(template, messages, tools):
        asked = {"template": template, "tokens": over.tokens_of(template), "messages": messages, "tools": tools}
        program.stdin.write((json.dumps(asked, ensure_ascii=False) + "\n").encode())
        program.stdin.flush()
        return json.loads(program.stdout.readline())

    totals = collections.Counter()
    for path in sorted(pathlib.Path(sys.argv[3]).rglob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        if not re.search(r"\{%[-+]?\s*generation\s*[-+]?%\}", template):
            continue
        seen = collections.defaultdict(list)
        for title, messages in over.CONVERSATIONS.items():
            if title == "some learn":
                continue  # transformers has one mask for all turns
            tools = over.TOOLS if title in over.WITH_TOOLS else None
            theirs = oracle.jinja2_answer(template, {"messages": as_transformers_passes(messages), "tools": tools, "documents": None,
                                                     "add_generation_prompt": False, **TOKENS})
            for form, text in (("blocks", template), ("found", without_blocks(template))):
                ours = ask(text, messages, tools)
                if not theirs["ok"] or not ours["ok"]:
                    what = "both refuse" if not theirs["ok"] and not ours["ok"] else "ours refuses" if theirs["ok"] else "theirs refuses"
                    totals[form, what] += 1
                    if what == "ours refuses":
                        seen[form, "refused: " + re.sub(r".*chat template tried ", "", ours["error"])[:90]].append(title)
                    continue
                if ours["text"] != theirs["text"]:
                    totals[form, "OTHER TEXT"] += 1
                    seen[form, "OTHER TEXT"].append(title)
                    continue
                a, b = bytes_of(ours["parts"]), bytes_of(theirs["generation"])
                totals[form, "equal" if a == b else "different"] += 1
                whole = ours["text"].encode()
                for side, places in (("only ours", a - b), ("only theirs", b - a)):
                    for run in runs(whole, places):
                        seen[form, f"{side}: {run!r}"].append(title)
        for (form, what), titles in sorted(seen.items()):
            print(f"{path.parent.name}/{path.stem} | {form} | {what[:160]} | {len(titles)}: {', '.join(titles)[:100]}")
    for key, number in sorted(totals.items()):
        print(*key, number)


if __name__ == "__main__":
    main()
