"""builtin_beside_families.py BUILTIN_FOLDER TEMPLATES_FOLDER: the project's templates beside their families' own.

TEMPLATES_FOLDER is what jinja/fetch_templates.py has filled. Both are rendered by Jinja2 as transformers sets it up, with
every conversation of system, user and assistant turns up to five turns long, plain and with white space around, and,
where the family has a form for them, with tools, calls and results. Prints a table and the first differences that are not
among EXPECTED; ends with 1 if there are any.
"""
import datetime
import itertools
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "jinja"))
import conversations
import oracle

oracle.NOW = datetime.datetime(2024, 7, 26)  # the day that Llama 3.1's template has where it is told none

FAMILIES = {
    "chatml": ["axolotl/chatml"],
    "llama3": ["trl/llama3"],
    "llama3.1": ["trl/llama3_1"],
    "llama3.2": ["trl/llama3_2"],
    "mistral-v1": ["axolotl/mistral_v1"],
    "mistral-v3": ["axolotl/mistral_v2v3"],
    "mistral-tekken": ["axolotl/mistral_v3_tekken"],
    "qwen2.5": ["trl/qwen2_5"],
    "qwen3": ["trl/qwen3"],
    "gemma": ["trl/gemma", "trl/gemma3"],
    "phi3": ["trl/phi3"],
    "phi4": ["llamafactory/phi4"],
    "alpaca": ["axolotl/alpaca"],
    "zephyr": ["llamafactory/zephyr"],
    "llama2": ["llamafactory/llama2"],
    "deepseek": ["trl/deepseekv3", "axolotl/deepseek_v3"],
}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TOOLS = [conversations.WEATHER, conversations.CLOCK]


def orders():
    """Every order of roles of up to five turns that has a user in it."""
    for length in range(1, 6):
        for roles in itertools.product(("system", "user", "assistant"), repeat=length):
            if "user" in roles:
                yield roles


def plain():
    for roles in orders():
        for pattern in ("{} {}", " {}  {}\n", "\n\n{}<b>{}</b>", ""):
            yield {"messages": [{"role": role, "content": pattern.format(role, i)} for i, role in enumerate(roles)], "tools": None}


def call(name, arguments, id):
    return conversations.call(name, arguments, id)


def with_tools():
    u, a, s, tool = conversations.u, conversations.a, conversations.s, conversations.tool
    one = [call("get_weather", {"place": "Zürich", "days": 2, "deep": [1, None, True]}, "abcdefghi")]
    two = one + [call("clock", {}, "123456789")]
    results = [tool('{"temp": 21}', tool_call_id="abcdefghi", name="get_weather"), tool("noon", tool_call_id="123456789", name="clock")]
    for head in ([], [s("S")]):
        for calls, answers in ((one, results[:1]), (two, results)):
            for content in ({"content": ""}, {"content": "I look."}, {}):
                turn = {"role": "assistant", **content, "tool_calls": calls}
                for end in ([], answers, answers + [a("Done.")], answers + [a("Done."), u("Thanks"), a("Welcome.")]):
                    yield {"messages": head + [u("Weather?"), turn] + end, "tools": TOOLS}
        yield {"messages": head + [u("Hi"), a("Hello")], "tools": TOOLS}
        yield {"messages": head + [u("Hi"), a("Hello"), u("More")], "tools": TOOLS}


def reasoning():
    u, a = conversations.u, conversations.a
    for first, last in itertools.product((a("4"), a("4", reasoning_content="two\nand two"), a("<think>\nhm\n</think>\n\n4")), repeat=2):
        yield {"messages": [u("2+2?"), first, u("again"), last], "tools": None}


def kinds(name):
    yield "plain", plain()
    if name in ("llama3.1", "llama3.2", "mistral-v3", "mistral-tekken", "qwen2.5", "qwen3"):
        yield "tools", with_tools()
    if name == "qwen3":
        yield "reasoning", reasoning()


def main():
    ours, theirs = map(pathlib.Path, sys.argv[1:3])
    for name, families in FAMILIES.items():
        text = (ours / f"{name}.jinja").read_text(encoding="utf-8")
        for family in families:
            other = (theirs / f"{family}.jinja").read_text(encoding="utf-8")
            for kind, examples in kinds(name):
                count = {"equal": 0, "both refuse": 0, "only ours refuses": 0, "only theirs refuses": 0, "different": 0}
                shown = {}
                for example in examples:
                    for prompt in (False, True):
                        variables = {**example, "documents": None, "add_generation_prompt": prompt, **TOKENS}
                        a, b = oracle.jinja2_answer(text, variables), oracle.jinja2_answer(other, variables)
                        if a["ok"] and b["ok"]:
                            what = "equal" if a["text"] == b["text"] else "different"
                        else:
                            what = "both refuse" if not a["ok"] and not b["ok"] else "only ours refuses" if b["ok"] else "only theirs refuses"
                        count[what] += 1
                        if what != "equal" and what not in shown:
                            shown[what] = (variables["messages"], a.get("text", a.get("error")), b.get("text", b.get("error")))
                print(f"| {name} | {family} | {kind} | " + " | ".join(str(n) for n in count.values()) + " |", flush=True)
                if "-v" in sys.argv:
                    for what, (messages, a, b) in shown.items():
                        if what in ("different", "only theirs refuses", "only ours refuses"):
                            print(f"  {what}: {json.dumps(messages, ensure_ascii=False)[:300]}\n    ours   {a!r:.700}\n    theirs {b!r:.700}")


if __name__ == "__main__":
    main()
