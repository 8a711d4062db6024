"""Jinja2 as transformers sets it up, and this project's interpreter, side by side."""
import datetime
import json
import subprocess

from transformers.utils import chat_template_utils as utils

NOW = datetime.datetime(2026, 7, 5, 3, 9, 8)


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


utils.datetime = FixedTime


def jinja2_answer(template, variables):
    """{"ok": True, "text", "generation": [[begin, end], ...]} (in bytes), or {"ok": False, "error"}."""
    try:
        compiled = utils._compile_jinja_template(template)
        rendered, spans = [], []
        with compiled.environment.activate_tracker(rendered, spans):
            for block in compiled.generate(**variables):
                rendered.append(block)
        text = "".join(rendered)
        text.encode()
    except (Exception, RecursionError) as error:  # whatever it raises: the template is refused
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}
    in_bytes = [[len(text[:begin].encode()), len(text[:begin].encode()) + len(text[begin:end].encode())]
                for begin, end in spans]
    return {"ok": True, "text": text, "generation": in_bytes}


class Interpreter:
    """The test program that renders with this project's interpreter."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def answer(self, template, variables):
        line = json.dumps({"template": template, "variables": variables}, ensure_ascii=False)
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the interpreter died of {template!r} with {variables!r}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise SystemExit(f"the interpreter ended with {self.process.returncode}")


class Tally:
    """Counts agreements, and keeps what differs."""

    def __init__(self):
        self.same_text = self.same_refusal = self.refused_by_name = self.addresses = 0
        self.differences = []

    def add(self, name, theirs, ours, may_refuse):
        if theirs["ok"] and " at 0x" in theirs["text"]:
            self.addresses += 1  # an address in memory: no two runs agree
        elif theirs["ok"] and ours["ok"]:
            spans = [span[:2] for span in ours["generation"] if not span[2]]
            captured = len(spans) < len(ours["generation"])
            if theirs["text"] == ours["text"] and (captured or theirs["generation"] == spans):
                self.same_text += 1
            else:
                self.differences.append((name, theirs, ours))
        elif not theirs["ok"] and not ours["ok"]:
            self.same_refusal += 1
        elif may_refuse and not ours["ok"] and ours["code"] in ("UNIMPLEMENTED", "RESOURCE_EXHAUSTED"):
            self.refused_by_name += 1
        else:
            self.differences.append((name, theirs, ours))

    def report(self, what, show=20):
        for name, theirs, ours in self.differences[:show]:
            print(f"DIFFERENT {name}\n  jinja2 {describe(theirs)}\n  ours   {describe(ours)}")
        print(f"{what}: {self.same_text} equal texts, {self.same_refusal} equal refusals, "
              f"{self.refused_by_name} refused by name, {self.addresses} with addresses, "
              f"{len(self.differences)} differences")
        return not self.differences


def describe(answer):
    return f"{answer['text']!r:.600} {answer['generation']}" if answer["ok"] else f"refuses: {answer['error']:.300}"
