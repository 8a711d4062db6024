"""templates_test.py PROGRAM PLACE...: every chat template below the places, with every conversation, as Jinja2 renders it.

A place is a folder (of *.jinja and of tokenizer_config.json, as fetch_templates.py and model folders have them) or
golden/data/chats.json.
"""
import json
import pathlib
import sys

import conversations
import oracle


def templates(place):
    """(name, text) of all below `place`."""
    if place.is_file():
        for case in json.loads(place.read_text(encoding="utf-8")):
            yield case["name"], case["template"]
        return
    for path in sorted(place.rglob("*.jinja")):
        yield str(path.relative_to(place)), path.read_text(encoding="utf-8")
    for path in sorted(place.rglob("tokenizer_config.json")):
        found = json.loads(path.read_text(encoding="utf-8")).get("chat_template") or []
        named = [{"name": "", "template": found}] if isinstance(found, str) else found
        for one in named:
            yield f"{path.relative_to(place)} {one['name']}", one["template"]


def main():
    ours = oracle.Interpreter(sys.argv[1])
    everything = list(conversations.every())
    count, good = 0, True
    for place in map(pathlib.Path, sys.argv[2:]):
        tally, seen = oracle.Tally(), set()
        for name, template in templates(place):
            if template in seen:
                continue
            seen.add(template)
            for conversation, variables in everything:
                tally.add(f"{name} / {conversation}", oracle.jinja2_answer(template, variables),
                          ours.answer(template, variables), may_refuse=False)
        good = tally.report(f"{place.name}: {len(seen)} templates x {len(everything)} conversations") and good
        count += len(seen)
    ours.close()
    print(f"{count} templates")
    sys.exit(0 if good and count > 0 else 1)


if __name__ == "__main__":
    main()
