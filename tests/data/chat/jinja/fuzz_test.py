"""fuzz_test.py PROGRAM COUNT [SEED]: templates made at random, which Jinja2 and the interpreter must answer alike."""
import random
import sys
import warnings

import oracle
import snippets

NAMES = list(snippets.VALUES) + ["missing", "x", "y", "loop", "ns", "m"]
STRINGS = ["''", "'a'", "'ab c'", "'A'", "\"it's\"", "'%s'", "'{}'", "' \\n'", "'é👋'", "','", "'name'", "'items'", "'upper'", "'odd'", "'x,y'", "'12'", "'-1.5'", "'<b>'", "'ß'"]
NUMBERS = ["0", "1", "2", "-1", "3", "7", "10", "1.5", "2.0", "-0.5", "100", "1e3", "0x10"]
ATTRIBUTES = ["name", "a", "x", "items", "keys", "values", "get", "index", "first", "last", "length", "upper", "nope", "age", "append", "copy", "count", "next", "0", "1"]
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
FILTERS = ["abs", "attr('a')", "batch(2)", "capitalize", "center(9)", "count", "d('q')", "default('q', true)", "dictsort", "dictsort(true, 'value')", "e", "escape", "filesizeformat", "first", "float",
           "forceescape", "format(1)", "groupby('age')", "groupby(0)", "indent", "indent(2, true)", "int", "int(5, 16)", "join", "join(',')", "join('-', 'name')", "last", "length", "list", "lower", "items", "map('upper')",
           "map(attribute='name')", "map(attribute='age', default=0)", "map('string')", "map('first')", "min", "max", "max(attribute='age')", "reject('odd')", "reject", "rejectattr('age')", "replace('a', 'b')", "replace('', '-', 2)", "reverse", "round",
           "round(1, 'floor')", "round(-1)", "safe", "select", "select('string')", "select('gt', 1)", "selectattr('name')", "selectattr('age', 'eq', 30)", "slice(2)", "slice(3, 'f')", "sort", "sort(true)", "sort(attribute='name')", "string", "sum", "sum(start=[])", "title", "trim",
           "trim('a')", "truncate(5)", "truncate(9, true, '')", "unique", "upper", "urlencode", "wordcount", "tojson", "tojson(indent=2)", "list", "list"]
TESTS = ["odd", "even", "divisibleby 2", "defined", "undefined", "none", "boolean", "true", "false", "integer", "float", "lower", "upper", "string", "mapping", "number", "sequence", "iterable", "callable", "in l", "eq 1", "sameas none", "lt 2", "ge 1", "escaped"]
METHODS = ["upper()", "lower()", "title()", "strip()", "lstrip('a')", "rstrip()", "split()", "split(',')", "rsplit(None, 1)", "split('a', 1)", "replace('a', 'b')", "startswith('a')", "endswith(('b', 'd'))", "find('l')", "rfind('o')", "count('l')", "count(1)", "index(1)", "join(['a', 'b'])", "join(l)",
           "format(1, a=2)", "format(n)", "items()", "keys()", "values()", "get('a')", "get('q', 1)", "copy()", "isdigit()", "isalpha()", "isupper()", "islower()", "istitle()", "isspace()", "splitlines()", "partition('l')", "zfill(5)", "center(8, '*')", "ljust(4)", "rjust(9)", "swapcase()", "capitalize()", "casefold()", "removeprefix('H')", "expandtabs(2)", "append(1)", "next()", "nope()", "cycle(1, 2)", "isalnum()", "isnumeric()"]
FORMATS = ["%s", "%d", "%5.1f", "%-6s|", "%05d", "%x", "%r", "%e", "%g", "%c", "%+d", "%%", "%.2s", "%(a)s", "%o", "%#X", "% d"]
SPECS = ["", ":>8", ":<8", ":^9", ":*^9", ":05", ":+", ":,", ":.2f", ":e", ":g", ":x", ":#b", ":%", ":8.3", ":d", ":s", ":.3", "!r", "!s", ":_", ":=+6", ":.0f", ":010,.2f", ":c"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, choices):
        return self.random.choice(choices)

    def atom(self):
        kind = self.random.random()
        return self.pick(NAMES if kind < 0.55 else STRINGS if kind < 0.75 else NUMBERS if kind < 0.92 else ["true", "false", "none", "[]", "{}", "()", "range(4)", "d.items()", "'abc'"])

    def expression(self, depth):
        if depth <= 0:
            return self.atom()
        sub = lambda: self.expression(depth - 1)
        kind = self.random.randrange(21)
        if kind <= 3:
            return f"{sub()}|{self.pick(FILTERS)}"
        if kind <= 5:
            return f"{sub()} {self.pick(BINARY)} {sub()}"
        if kind == 6:
            return f"({sub()}) {self.pick(BINARY)} ({sub()})"
        if kind == 7:
            return f"{sub()} is {self.pick(['', 'not '])}{self.pick(TESTS)}"
        if kind <= 9:
            return f"({sub()}).{self.pick(METHODS)}"
        if kind == 10:
            return f"({sub()}).{self.pick(ATTRIBUTES)}"
        if kind == 11:
            return f"({sub()})[{sub()}]"
        if kind == 12:
            part = lambda: self.pick(["", "", "0", "1", "2", "-1", "-2", "5", "none", "n"])
            # Of names: what is wrong with a slice of constants, Jinja2 finds before it renders, and forgets.
            return f"{self.pick(NAMES)}[{part()}:{part()}{self.pick(['', '', ':' + part()])}]"
        if kind == 13:
            return f"{sub()} if {sub()}{self.pick(['', ' else ' + sub()])}"
        if kind == 14:
            return f"[{', '.join(sub() for _ in range(self.random.randrange(4)))}]"
        if kind == 15:
            return "{" + ", ".join(f"{self.pick(NAMES + STRINGS + NUMBERS)}: {sub()}" for _ in range(self.random.randrange(3))) + "}"
        if kind == 16:
            return f"({', '.join(sub() for _ in range(self.random.randrange(4)))}{self.pick(['', ','])})"
        if kind == 17:
            return f"{self.pick(['not ', '-', '+', 'not not '])}{sub()}"
        if kind == 18:
            return f"'{self.pick(FORMATS)}{self.pick(FORMATS)}' % ({sub()}{self.pick([',', ', ' + sub()])})"
        if kind == 19:
            return f"'{{{self.pick(SPECS)}}}{self.pick(['', '{}', '{1}', '{a[0]}'])}'.format({sub()}, a={self.atom()})"
        call = self.pick(["range", "dict", "namespace", "cycler", "joiner", "m", "loop", "n"])
        return f"{call}({self.pick(['', sub(), sub() + ', ' + sub(), 'a=' + sub(), '*' + sub(), '**' + sub()])})"

    def space(self):
        return self.pick(["", "", " ", "\n", "\n  ", "x", " y ", "a\n\n"])

    def tag(self, inside):
        return f"{{%{self.pick(['', '', '', '-', '+'])} {inside} {self.pick(['', '', '', '-', '+'])}%}}"

    def body(self, depth):
        return "".join(self.statement(depth) for _ in range(self.random.randrange(1, 4)))

    def target(self):
        return self.pick(["x", "y", "x, y", "n", "ns.a", "l", "(x, y)", "ns"])

    def statement(self, depth):
        kind = self.random.randrange(16) if depth > 0 else self.random.randrange(4)
        body = lambda: self.body(depth - 1)
        e = lambda: self.expression(self.random.randrange(3))
        if kind <= 1:
            return f"{self.space()}{{{{{self.pick(['', '-'])} {e()} {self.pick(['', '-'])}}}}}"
        if kind == 2:
            return self.space() + self.tag(f"set {self.target()} = {e()}")
        if kind == 3:
            return self.space() + self.pick(["{# c #}", "{#- c -#}", "{% raw %}{{ r }}{% endraw %}", "text"])
        if kind <= 6:
            middle = self.pick(["", "", self.tag("else") + body(), self.tag(f"elif {e()}") + body()])
            return self.space() + self.tag(f"if {e()}") + body() + middle + self.tag("endif")
        if kind <= 9:
            head = f"for {self.pick(['x', 'x', 'y', 'x, y'])} in {e()}{self.pick(['', '', '', ' if ' + e()])}{self.pick(['', '', '', ' recursive'])}"
            end = self.pick(["", "", self.tag("else") + body()])
            inner = self.pick(["", "", "{{ loop.index }}", "{{ loop.last }}{{ loop.length }}", self.tag("if x") + self.tag(self.pick(["break", "continue"])) + self.tag("endif")])
            return self.space() + self.tag(head) + inner + body() + end + self.tag("endfor")
        if kind == 10:
            return self.tag(f"macro m({self.pick(['', 'a', 'a=1', 'x, y=n', 'caller=none'])})") + body() + self.pick(["", "{{ caller() }}", "{{ varargs }}{{ kwargs }}"]) + self.tag("endmacro")
        if kind == 11:
            return self.tag(f"call{self.pick(['', '(x)'])} m({self.pick(['', e()])})") + body() + self.tag("endcall")
        if kind == 12:
            return self.tag(f"set {self.pick(['x', 'y', 'ns.b'])}{self.pick(['', '|upper', '|trim'])}") + body() + self.tag("endset")
        if kind == 13:
            return self.tag(f"filter {self.pick(['upper', 'trim', 'replace(1, 2)|title', 'length'])}") + body() + self.tag("endfilter")
        if kind == 14:
            return self.tag(f"with x = {e()}, y = {e()}") + body() + self.tag("endwith")
        return self.tag("generation") + body() + self.tag("endgeneration")

    def template(self):
        if self.random.random() < 0.5:
            return "{{ " + self.expression(self.random.randrange(1, 4)) + " }}"
        return "{% set ns = namespace(a=1) %}" + self.body(3) + self.pick(["", "\n", "{{ x }}{{ ns.a }}"])


def main():
    warnings.simplefilter("ignore")  # of Python, on what templates compile to
    count, seed = int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1
    ours, maker, tally = oracle.Interpreter(sys.argv[1]), Maker(seed), oracle.Tally()
    for _ in range(count):
        template = maker.template()
        tally.add(template, oracle.jinja2_answer(template, snippets.VALUES), ours.answer(template, snippets.VALUES), may_refuse=True)
    ours.close()
    sys.exit(0 if tally.report(f"{count} random templates (seed {seed})", show=40) else 1)


if __name__ == "__main__":
    main()
