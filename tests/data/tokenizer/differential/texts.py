"""The strings that tokenizers are compared on: every character in contexts, random sequences of what cuts words,
and real text. Deterministic."""

import functools
import random
import sysconfig
from pathlib import Path

import regex

CUTS = [
    " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "\u200d",
    "\ufeff", "\u180e", "\x00", "\x1c", "'s", "'S", "'ll", "'LL", "'\u017f", "'re", "'VE", "'m", "'d", "'t", "\u2019s",
    "a", "A", "z", "the", "The", "THE", "iPhone", "McDonald", "HTTPServer", "caf\u00e9", "cafe\u0301", "na\u00efve",
    "\u00df", "\u1e9e", "\u0130", "\u0131", "\u01c5", "\u01c8", "\u2160", "\u00bd", "\u00b2", "0", "7", "42", "2024",
    "123456789", "3.14", "1,000", "\u0663\u0664", "\u096a", "\uff15", "!", "?", "...", ",", ";", "(", ")", "[", "]",
    "{", "}", "#", "##", "//", "/*", "<", ">", "</", "<|", "|>", "=", "==", "!=", "->", "_", "__", "-", "--", "\u2014",
    "\"", "'", "`", "```", "$", "\u20ac", "%", "&", "*", "**", "@", "\\", "^", "~", "|", "+",
    "\u4e2d\u6587", "\u6771\u4eac", "\u3072\u3089", "\u30ab\u30bf", "\ud55c\uad6d\uc5b4", "\u0645\u0631\u062d\u0628\u0627",
    "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0e44\u0e17\u0e22", "\u05e9\u05dc\u05d5\u05dd", "\u0440\u0443\u0441",
    "\u03b5\u03bb", "\U0001f680", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2581",
    "\u2581\u2581", "\u0120", "\u010a", "<0x41>", "<s>", "</s>", "<unk>", "\u0301", "\u0327\u0301", "\u1100\u1161\u11a8",
    "\u212b", "\ufb01", "\u2126", "\u0344", "\u0f73", "\U0001d15e", "\uac00", "\u1e0b\u0323", "\U00020000", "\ue000",
    "\U0010ffff", "\ufffd", "\ufffe",
]


@functools.cache
def characters(step=1):
    """Every character (each step-th) that Unicode has assigned, others at wider steps, each in contexts."""
    unassigned = regex.compile(r"[\p{Cn}\p{Co}]")
    codes = [code for code in range(0, 0x110000, step) if not 0xD800 <= code < 0xE000]
    chars = [chr(code) for code in codes if code % 61 == 0 or not unassigned.match(chr(code))]
    return [f"a{c}b {c}{c} 1{c}\n{c}" for c in chars]


def random_strings(count, extra, seed):
    rng = random.Random(seed)
    cuts = CUTS + list(extra)
    for _ in range(count):
        if extra and rng.random() < 0.25:
            yield "".join(rng.choice(extra if rng.random() < 0.4 else CUTS) for _ in range(rng.randint(1, 9)))
        else:
            yield "".join(rng.choice(cuts) for _ in range(rng.randint(0, 14)))


def random_letters(count, seed):
    """Words of few letters in many orders: merges at their densest."""
    rng = random.Random(seed)
    for _ in range(count):
        letters = rng.choice(["ab", "etaoin", "aeiou ", "lLoO0", "\u0435\u043d\u0442\u043e", "\u7684\u4e00\u662f ", "= -", "ing"])
        yield "".join(rng.choice(letters) for _ in range(rng.randint(1, 60)))


def random_marks(count, seed):
    """Letters under hundreds of marks, in any order: normalization puts them into one."""
    rng = random.Random(seed)
    marks = [chr(code) for code in range(0x80, 0x20000) if regex.match(r"\p{M}", chr(code))]
    marks += ["\u0344", "\u0f73", "\u0f75", "\u0f81", "\uff9e", "\uff9f", "\u0301", "\u0327"]
    for _ in range(count):
        few = rng.sample(marks, rng.randint(2, 40))
        yield "".join(rng.choice(CUTS) + "".join(rng.choices(few, k=rng.choice([3, 70, 400]))) for _ in range(3))


@functools.cache
def source_text(count):
    """Pieces of Python's own library, by lines and by the page."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))
    files = [f for f in files if "site-packages" not in f.parts]
    lines, pages = [], []
    for f in files:
        text = f.read_text(encoding="utf-8", errors="ignore")
        if len(pages) < count // 20:
            pages.append(text[: 3000])
        lines += text.splitlines(keepends=True)
        if len(lines) > 40 * count:
            break
    rng = random.Random(5)
    rng.shuffle(lines)
    return lines[: count - len(pages)] + pages


def campaign(extra=()):
    """More than 230,000."""
    return (
        characters()
        + list(random_strings(25_000, extra, 1))
        + list(random_letters(10_000, 2))
        + list(random_marks(2000, 6))
        + source_text(10_000)
    )


def small(extra=()):
    """A few thousand."""
    return (
        characters(step=401)
        + list(random_strings(1500, extra, 3))
        + list(random_letters(500, 4))
        + list(random_marks(100, 8))
        + source_text(300)
    )
