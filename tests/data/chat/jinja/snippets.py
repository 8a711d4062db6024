"""Expressions and small templates, each of which Jinja2 and the interpreter must answer alike."""

VALUES = {
    "n": 7, "z": 0, "neg": -3, "f": 2.5, "t": True, "no": False, "nil": None, "s": "Hello, World", "e": "",
    "uni": "Straße ΑΣ ǆ İ 👩‍👩‍👧 e\u0301", "ws": " \t a  b \n c \u00a0", "l": [3, 1, 2], "el": [], "mixed": [1, "a", None, 2.0, True, [1], {"k": "v"}],
    "d": {"b": 1, "a": 2, "C": 3}, "ed": {}, "nested": {"x": {"y": [{"z": "deep"}]}},
    "people": [{"name": "bob", "age": 30, "city": "A"}, {"name": "Al", "age": 25, "city": "b"}, {"name": "cy", "age": 30, "city": "a"}],
    "items": {"items": 1, "get": 2}, "big": 9007199254740993, "tiny": 1e-7, "huge": 1e22, "words": ["b", "A", "c", "B", "a"],
    "html": "<a href='x'>\"&</a>", "multi": "one\ntwo\r\nthree\n", "long": "The quick brown fox jumps over the lazy dog " * 8,
}

EXPRESSIONS = """
n + 1|n - 10|n * f|n / 2|n // 2|neg // 2|neg % 5|n % -5|f // 1|f % 1|-f // 0.7|2 ** 10|2 ** -1|2 ** 0.5|-2 ** 2|2 ** 3 ** 2|n / z|n // z|n % z|f / 0
1 + true|true + true|-true|+true|not n|not e|- - 3|1 - -1|n == 7.0|n == "7"|true == 1|nil == none|el == []|[1, 2] == [1, 2.0]|(1, 2) == [1, 2]|d == {"a": 2, "b": 1, "C": 3}
1 < 2 < 3|1 < 3 < 2|1 < 2 > 1|"a" < "b"|"Z" < "a"|[1, 2] < [1, 3]|1 < "a"|nil < 1|1 in l|4 in l|4 not in l|"a" in d|"ell" in s|1 in s|"x" in nil|"" in ""|nil in mixed|not 1 in l
n ~ s|n ~ nil ~ f ~ true|"a" ~ 1 + 2|1 ~ 2 * 3|"a" "b" 'c'|"a" + "b"|"a" + 1|"ab" * 3|3 * "ab"|"ab" * -1|[1] * 3|[1] + [2]|(1,) + (2,)|[1] + (2,)|l + 1|nil + 1
n if t else s|n if no else s|n if no|(n if no) is defined|n if t if no else 3|1 or 2|0 or ""|1 and 2|0 and x or 2|none or el or "last"|x or "d"|x and 1|missing|missing.foo|missing["a"]|missing + 1|missing ~ "a"|missing|default("d")
missing is defined|missing is undefined|s.foo is defined|d.foo is defined|d.foo|d.foo.bar|d["b"]|d.b|d.C|d["zz"]|l[0]|l[-1]|l[5]|l["a"]|l[1.0]|l[true]|s[0]|s[-1]|s[100]|uni[1]|uni[-1]|nil.x|nil[0]|n.x|f.real|n.numerator
l[1:]|l[:2]|l[::-1]|l[::2]|l[-2:]|l[5:]|s[1:4]|s[::-1]|s[-5:-1]|uni[3:9]|uni[::-2]|s[5:2]|s[:]|s[::0]|l["a":]|nil[1:]|d[1:]|(1, 2, 3)[1:]|range(10)[2:5]|range(10)[::-3]|range(5)[-1]|s[none:3]|s[1:none:2]
[1, 2, 3]|(1,)|()|(1, 2)|{"a": 1}|{}|{"a": [1, {"b": none}], 2: true, none: 1.5}|{1: "a", true: "b"}|{[1]: 2}|[1, [2, [3, "x"]]]|mixed|d|nested|["it's", 'say "x"', "both ' and \\""]|["\\n\\t\\\\", "é", "\\u200b", "\\x00", "\\U0001F600"]
1.0|1e3|1.5e-10|1e16|1e15|123456789012345678|0.1 + 0.2|1e22|1e100|-0.0|1/3|100.0|1e-5|0.0001|tiny|huge|big|0x1F|0b101|0o17|1_000|1_0.5_0|00|3.0 * 2|5e-324|1.7976931348623157e308|2.5e-8
d.items()|d.keys()|d.values()|d.items()|list|d.get("a")|d.get("x")|d.get("x", 5)|d.get("x", default=5)|items.items|items["items"]|items.items()|list|d|list|d|length|d|first|d|last|d.keys()|first|d.keys()[0]|d.copy()|d.pop("a")|d.clear|d.update({})|l.append(1)|l.sort()|l.index(1)|l.count(3)|l.index(9)|l.copy()
s.upper()|s.lower()|s.title()|s.capitalize()|s.swapcase()|uni.upper()|uni.lower()|uni.title()|uni.capitalize()|uni.swapcase()|uni.casefold()|"ΑΣ ΑΣ".lower()|"ŉ".upper()|"ǆ".title()|"ﬁ".upper()|"they're bill's".title()|"they're bill's"|title
s.split()|s.split(",")|s.split(", ", 1)|s.rsplit("o", 1)|"a  b".split(" ")|" a b c ".split(none, 1)|" a b c ".rsplit(none, 1)|" a  b ".split(maxsplit=1)|s.split("")|s.split(1)|ws.split()|"".split()|"".split(",")|"a,b,,c".split(",")|s.split(sep="o")|"a,b,c".rsplit(",", maxsplit=1)
ws.strip()|ws.lstrip()|ws.rstrip()|"xxaxx".strip("x")|"abcba".strip("ab")|s.strip(1)|s.strip(none)|ws|trim|"xxaxx"|trim("x")|n|trim|nil|trim|s.replace("o", "0")|s.replace("o", "0", 1)|s.replace("", "-")|"abc".replace("", "-", 2)|s|replace("l", "L")|s|replace("l", "L", 1)|n|replace(7, 8)|"aaa".replace("aa", "b")
s.startswith("Hell")|s.startswith(("x", "H"))|s.endswith("d")|s.endswith(("x", "y"))|s.startswith("W", 7)|s.startswith(1)|s.find("o")|s.find("o", 5)|s.find("zz")|s.rfind("o")|s.index("W")|s.index("q")|s.count("l")|s.count("")|uni.find("Α")|uni.find("👩")|uni.rfind("👩")|s.find("", 50)|s.count("l", 3, 5)|s.endswith("lo", 0, 5)
"-".join(["a", "b"])|"-".join("abc")|"-".join([1])|"-".join(el)|l|join|l|join(",")|l|join(", ", 1)|people|join(",", attribute="name")|people|join("|", "city")|mixed|join(" ")|s|join("-")|nil|join|missing|join|d|join(",")
"ab".center(7, "*")|"ab".center(6)|"abc".center(6, "-")|"ab".ljust(5) ~ "|"|"ab".rjust(5)|"42".zfill(5)|"-42".zfill(5)|"+1".zfill(1)|"ab"|center(9)|"ab".center(5, "xy")|"a\\tb".expandtabs()|"a\\tb\\n\\tc".expandtabs(4)|s.partition(", ")|s.rpartition("o")|s.partition("q")|s.partition("")|"TestHook".removeprefix("Test")|"x.py".removesuffix(".py")
multi.splitlines()|multi.splitlines(true)|"a\\x0bb\\x1cc\\u2028d".splitlines()|"".splitlines()|"abc".isalpha()|"ab1".isalnum()|"12".isdigit()|"²".isdigit()|"²".isdecimal()|"½".isnumeric()|" ".isspace()|"".isspace()|"Ab".istitle()|"AB".isupper()|"ab".islower()|"a1_".isidentifier()|"1a".isidentifier()|"\\n".isprintable()|"é".isascii()|"ǅ".isupper()
"%s and %d" % ("a", 5)|"%s" % n|"%5.2f|%-5d|%05d|%+d|%x|%X|%o|%e|%g" % (f, n, n, n, 255, 255, 8, 12345.678, 0.0001)|"%s %s" % ("a",)|"%s" % ("a", "b")|"%(a)s-%(b)05.1f" % {"a": 1, "b": 2}|"%%" % ()|"%r" % s|"%c" % 65|"%c" % "x"|"%d" % 2.9|"%d" % "x"|"%s" % [1]|"%s" % d|"%.2s" % "abc"|"%*d" % (5, 3)|"%5%" % ()|"%i" % true|"%#x" % 255|"% d" % 5|"%y" % 1|"%s" % missing|"%.3g" % 1234.5|"%10s|" % "é"
"{} {}".format("a", 1)|"{0} {1} {0}".format("a", 1)|"{x} {y[0]} {z.b}".format(x=1, y=[5], z=d)|"{:>5}|{:<5}|{:^5}|{:*^7}".format("a", "b", "c", "d")|"{:05d} {:,} {:_} {:+} {: }".format(5, 1234567, 1234567, 5, 5)|"{:.2f} {:e} {:g} {:%} {:.1%}".format(f, f, f, f, f)|"{:x} {:#x} {:b} {:#o} {:c}".format(255, 255, 5, 8, 65)|"{!r} {!s}".format("a", "b")|"{".format()|"}".format()|"{{}}".format()|"{} {0}".format(1)|"{5}".format(1)|"{a}".format(b=1)|"{:>{w}}".format("x", w=5)|"{:d}".format("x")|"{:s}".format(1)|"{:,.2f}".format(1234567.891)|"{:010,.1f}".format(1234.5)|"{:.3}".format(3.14159)|"{:.3}".format("abcdef")|"{0.__class__}".format(1)|"{:5}".format(true)|"{}".format(none)|"{:5}".format(none)|"{:.0f}".format(2.5)|"{:.3}".format(100000.0)|"{:08.3f}".format(-3.14159)|"{a[b]}".format(a={"b": 1})|"{:=+7d}".format(5)|"{a}".format_map({"a": 1})
d|dictsort|d|dictsort(true)|d|dictsort(false, "value")|d|dictsort(reverse=true)|d|dictsort(by="x")|l|sort|l|sort(reverse=true)|words|sort|words|sort(case_sensitive=true)|words|sort(true)|people|sort(attribute="age")|people|sort(attribute="age,name")|people|sort(attribute="nope")|mixed|sort|d|sort|s|sort|nil|sort|people|map(attribute="name")|list|people|map(attribute="nope", default="-")|list|words|map("upper")|list|l|map("string")|join("+")|words|map("replace", "a", "x")|list|l|map("nofilter")|list|l|map|list|l|map(attribute=0)|list|[[1, 2], [3, 4]]|map(attribute=1)|list|[[1, 2]]|map("first")|list|people|map(attribute="name.0")|list
l|select|list|l|select("odd")|list|l|reject("odd")|list|l|select("gt", 1)|list|l|select(">", 1)|list|people|selectattr("age", "eq", 30)|map(attribute="name")|list|people|rejectattr("age", "equalto", 30)|list|people|selectattr("name")|list|mixed|select("string")|list|mixed|select("none")|list|l|select("notest")|list|people|selectattr|list|l|select("in", [1, 2])|list|mixed|select("number")|list|mixed|rejectattr("k")|list|d.items()|selectattr(1, "gt", 1)|list
people|groupby("age")|people|groupby("city")|people|groupby("city", case_sensitive=true)|people|groupby("zip", default="none")|words|groupby(0)|words|unique|list|words|unique(true)|list|people|unique(attribute="city")|map(attribute="name")|list|[1, 1.0, true, "1"]|unique|list|[[1]]|unique|list|l|min|l|max|words|min|words|max|people|min(attribute="age")|el|min|el|max|mixed|min|l|sum|people|sum(attribute="age")|people|sum("age", 100)|["a"]|sum|[[1], [2]]|sum(start=[])|el|sum
l|first|l|last|el|first|el|last|s|first|s|last|nil|first|5|first|missing|first|missing|last|l|length|s|length|uni|length|d|length|5|length|nil|length|missing|length|range(5)|length|l|reverse|list|s|reverse|uni|reverse|d|reverse|list|5|reverse|l|map("abs")|reverse|list|l|list|s|list|5|list|d.items()|list|count
l|batch(2)|list|l|batch(2, "x")|list|l|slice(2)|list|l|slice(2, "x")|list|l|slice(0)|list|l|batch(0)|list|s|upper|n|upper|nil|lower|s|capitalize|"foo bar-baz (qux)"|title|uni|title|["a"]|title|"a b  c_d e-f"|wordcount|""|wordcount|s|truncate(8)|long|truncate(20)|long|truncate(20, true)|long|truncate(20, false, "!")|s|truncate(2)|s|truncate(8, leeway=0)|n|truncate
multi|indent|multi|indent(2, true)|multi|indent(2, first=true, blank=true)|multi|indent("> ")|"a\\n\\nb"|indent|"a\\n\\nb"|indent(blank=true)|n|indent|s|indent(-1)|2.5|round|3.5|round|-2.5|round|2.675|round(2)|1234.5678|round(-2)|1250|round(-2)|1350|round(-2)|42.55|round(1, "floor")|42.55|round(1, "ceil")|42|round|true|round|2.5|round(none)|s|round|2.5|round(method="x")|-0.4|round|1e300|round(2)|7|round(1, "ceil")
"42"|int|"42.7"|int|"x"|int|"x"|int(5)|" 12 "|int|"0x1f"|int(base=16)|"1f"|int(0, 16)|"0b11"|int(base=2)|"10"|int(base=0)|"1_000"|int|"__1"|int|true|int|f|int|nil|int|el|int|missing|int|"1e3"|int|"inf"|int|"nan"|int|-2.7|int|"-5"|int|"+5"|int|"٣"|length
"1.5"|float|"x"|float|"x"|float(2.0)|n|float|nil|float|"1e5"|float|" 2 "|float|"inf"|float|"-nan"|float|"1_0.5"|float|"0x10"|float|missing|float|true|float|-5|abs|f|abs|-2.5|abs|true|abs|s|abs|nil|abs|1000|filesizeformat|1|filesizeformat|0|filesizeformat|1500000|filesizeformat|1024|filesizeformat(true)|123456789|filesizeformat(binary=true)|"x"|filesizeformat
html|escape|html|e|html|safe|html|forceescape|html|e|e|html|safe|e|(html|e)|length|("<"|safe) + "<"|"<" + ("<"|e)|(html|safe) ~ "<"|html|safe|upper|nil|e|n|e|l|e|html|escape is escaped|html is escaped|html|string|n|string|l|string|nil|string ~ "x"|"a b/c&d=é"|urlencode|d|urlencode|[["a b", "c/d"]]|urlencode|n|urlencode|{"x": none}|urlencode
"%s-%s"|format(1, 2)|"%(a)s"|format(a=1)|"%s"|format(1, a=2)|"%d items"|format(n)|n|format|x|d("z")|e|d("z")|e|d("z", true)|nil|d("z")|nil|default("z", boolean=true)|no|d(5, true)|missing|d|missing.x|d(1)|d|attr("a")|d|attr("items")|s|attr("upper")|nested|attr("x")|people|items|d|items|list|missing|items|list|5|items|list
n is odd|n is even|4 is even|n is divisibleby 7|n is divisibleby(2)|n is divisibleby 0|s is string|n is string|n is number|t is number|f is float|n is integer|t is integer|t is boolean|n is boolean|t is true|n is true|no is false|nil is none|nil is not none|none is None|d is mapping|l is mapping|l is sequence|s is sequence|d is sequence|d.keys() is sequence|n is sequence|missing is sequence|l is iterable|n is iterable|s is iterable|missing is iterable|d.items() is iterable
"abc" is lower|"ABC" is upper|"" is lower|5 is lower|n is sameas 7|nil is sameas none|l is sameas l|l is sameas [3, 1, 2]|t is sameas 1|n is in [7]|n is in(7, 8)|n is in l|n is eq 7|n is equalto(7)|n is ne 7|n is lt 8|n is le 7|n is gt 7|n is ge 7|n is greaterthan 3|n is lessthan 3|s is callable|s.upper is callable|range is callable|missing is callable|dict is callable|"upper" is filter|"nope" is filter|"odd" is test|"nope" is test|n is not odd|not n is odd|n is odd and t|n is odd or no|n is odd if t else 5|n is nope
range(3)|list|range(1, 7, 2)|list|range(5, 0, -2)|list|range(0)|list|range(3)|range(1, 7, 2)|range(2, 2)|range(200000)|range(1.5)|range(1, 2, 0)|range()|range(-3)|list|range(3) == range(0, 3)|2 in range(3)|range(3)|last|range(true)|list|range(5).start|range(3)|sum
dict(a=1, b=2)|dict(missing)|namespace(s.nope)|dict([("a", 1)])|dict({"x": 1}, y=2)|dict(1)|dict([1])|dict()|dict.fromkeys(["a", "b"], 0)|dict.fromkeys("ab")|namespace(a=1).a|namespace(a=1).b|namespace({"a": 2}).a|namespace(a=1)|namespace(_a=1)|namespace()["x"]|namespace(a=1)["a"]|namespace(a=1).items|namespace(items=5).items|cycler(1, 2).next()|cycler().next()|cycler(1).current|joiner()()|joiner("|")() ~ "x"|lipsum|dict(**d)|dict(*[[("a", 1)]])
n|tojson|s|tojson|uni|tojson|l|tojson|d|tojson|mixed|tojson|nested|tojson|html|tojson|nil|tojson|t|tojson|f|tojson|1e22|tojson|tiny|tojson|(1, 2)|tojson|{1: 2, none: 3, true: 4, 1.5: 5}|tojson|{(1,): 2}|tojson|missing|tojson|[missing]|tojson|range(3)|tojson|d.items()|tojson|"\\x00\\x1f\\x7f\\u2028"|tojson|d|tojson(indent=2)|nested|tojson(indent=2)|el|tojson(indent=2)|d|tojson(indent="\\t")|d|tojson(separators=(",", ":"))|d|tojson(sort_keys=true)|uni|tojson(ensure_ascii=true)|mixed|tojson(true, 1)|d|tojson(indent=0)|[]|tojson|{}|tojson|d|tojson|safe|l|map("tojson")|join(",")|("inf"|float)|tojson|("nan"|float)|tojson
strftime_now("%Y-%m-%d")|strftime_now("%d %b %Y")|strftime_now("%A, %B %d, %Y %H:%M:%S %p")|strftime_now("")|strftime_now(1)|strftime_now()|raise_exception("no")|raise_exception()|s.__class__|s.__class__.__mro__|s.__len__()|"".__class__|d.__class__|(n).__add__(1)|s["__class__"]|s["upper"]()|s["upper"]|d["items"]()|l["append"](1)|s.format.__globals__|range.__name__
[x for x in l]|l[0|1]|foo(|)|{{|1 +|* 2|"abc|(1, 2|[1, 2|{1: 2|{1}|a b|1..2|x.|x.1.y|.5|5.|1__0|0x|0b2|1e|@|$|!|a = 1|lambda: 1|f(a=1, a=2)|f(**d, *l)|f(*l, **d)|range(*[1, 4])|list|x if|is odd|n is|n is not|s|s||upper|l|join(|{"a" 1}|{"a":}|"a" if|not|(((((((((1)))))))))|- - - 1|not not not t|~ 1
l.0|people.0.name|people[0]["name"]|people[0].name.upper()|nested.x.y[0].z|nested["x"]["y"][0]["z"]|"abc".0|l[-1:][0]|(l|sort)[0]|(1, 2)[0]|{"a": {"b": 5}}.a.b|[1, 2, 3][1]|"abc"[1]|"abc"|first|upper|s|upper|lower|title|l|first + 1|-l[0]|-n|abs|(-n)|abs|2 * n|string|n + 1|string|not s is string|n|string is string|1 if l|length > 2 else 2|s.upper().lower().title()
""".strip("\n")


def chains():
    """Every part between bars as a template, and every two and three neighbours as a chain of filters.

    Many are wrong; then both sides must refuse them.
    """
    for line in EXPRESSIONS.split("\n"):
        parts, quote = [""], ""
        for c in line:
            if c == "|" and not quote:
                parts.append("")
                continue
            quote = "" if c == quote else c if c in "\"'" and not quote else quote
            parts[-1] += c
        for i in range(len(parts)):
            for length in range(1, min(3, len(parts) - i) + 1):
                yield "{{ " + "|".join(parts[i:i + length]) + " }}"


TEMPLATES = [
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.depth }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }}{% else %}none{% endfor %}",
    "{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in el %}{% else %}E{% endfor %}{% for x in l %}{% else %}E{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% else %}E{% endfor %}",
    "{% for x in [1] %}{% continue %}{% else %}E{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for k, v in d | dictsort %}{{ k }}{{ v }}{% endfor %}{% for k in d %}{{ k }}{% endfor %}",
    "{% for a, b in [[1, 2], [3, 4]] %}{{ a }}{{ b }}{% endfor %}{% for a, b in [[1, 2, 3]] %}{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for c in 'añ👋' %}[{{ c }}]{% endfor %}{% for x in missing %}x{% else %}E{% endfor %}{% for x in 5 %}{% endfor %}",
    "{% for x in l recursive %}{{ x }}{% if x == 3 %}({{ loop([7, 8]) }}){% endif %}{{ loop.depth }}{% endfor %}",
    "{% for x in [[1, [2, [3]]], 4] recursive %}{% if x is iterable %}<{{ loop(x) }}>{% else %}{{ x }}{% endif %}{% else %}E{% endfor %}",
    "{% for x in l %}{{ loop(x) }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}",
    "{% for x in l %}{% set o = loop %}{% for y in [1] %}{{ o.index }}{% endfor %}{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{% endfor %}{{ loop is defined }}",
    "{% for x in l | map('string') %}{{ loop.length }}{{ x }}{{ loop.last }}{% endfor %}",
    "{% for x in range(3) %}{% set y = x %}{% endfor %}{{ y is defined }}{% set z = 1 %}{% for x in l %}{% set z = z + x %}{{ z }}{% endfor %}{{ z }}",
    "{% set ns = namespace(c=0) %}{% for x in l %}{% set ns.c = ns.c + x %}{% endfor %}{{ ns.c }}{% set ns.new = 5 %}{{ ns.new }}{{ ns }}",
    "{% set d.x = 1 %}", "{% set missing.x = 1 %}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = 1 %}",
    "{% set a, b = l %}", "{% set (a, b) = (1, 2) %}{{ a + b }}", "{% set ns = namespace() %}{% set ns.a, b = 1, 2 %}{{ ns.a }}{{ b }}", "{% set a = 1, %}{{ a }}", "{% set true = 1 %}", "{% set 5 = 1 %}",
    "{% set x %}a{{ n }}b{% endset %}[{{ x }}]{{ x | length }}", "{% set x | upper %}a{{ n }}b{% endset %}{{ x }}", "{% set x | upper | replace('A', 'b') %}aA{% endset %}{{ x }}",
    "{% set x %}{% set y = 1 %}{% endset %}{{ y is defined }}", "{% set ns = namespace() %}{% set ns.t %}hi{% endset %}{{ ns.t }}",
    "{% if n %}a{% elif x %}b{% else %}c{% endif %}", "{% if z %}a{% elif e %}b{% elif n %}c{% else %}d{% endif %}", "{% if z %}a{% endif %}",
    "{% if no %}{% set v = 1 %}{% endif %}{{ v is defined }}{% if t %}{% set v = 2 %}{% endif %}{{ v }}", "{{ w is defined }}{% if t %}{% set w = 2 %}{% endif %}{{ w }}",
    "{% for i in l %}{% if i == 1 %}{% set q = i %}{% endif %}{{ q is defined }}{% endfor %}", "{{ n }}{% set n = 1 %}{{ n }}", "{% for i in [1, 2] %}{{ n }}{% set n = i %}{{ n }}{% endfor %}{{ n }}",
    "{% macro m(a, b=2) %}{{ a }}-{{ b }}{{ caller is defined }}{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=1, a=0) }}{{ m() }}",
    "{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in{{ n }}{% endcall %}", "{% macro m() %}{% for x in l %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(v) m() %}<{{ v }}>{% endcall %}",
    "{% macro m() %}x{% endmacro %}{% call m() %}in{% endcall %}", "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% call n() %}{% endcall %}", "{% call n %}{% endcall %}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}", "{% macro m() %}{{ later }}{% endmacro %}{% set later = 5 %}{{ m() }}", "{% macro m() %}{% set x = 5 %}{% endmacro %}{{ m() }}{{ x is defined }}",
    "{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m(a=n) %}{{ a }}{% endmacro %}{{ m() }}{{ m.name }}{{ m.arguments }}{{ m }}", "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(3) }}",
    "{% macro m(a, a) %}{% endmacro %}", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m(caller) %}{{ caller }}{% endmacro %}", "{% macro m(caller=none) %}{{ caller }}{% endmacro %}{{ m() }}{{ m(1) }}",
    "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}banana{% endfilter %}", "{% filter upper %}{% set q = 1 %}{% endfilter %}{{ q is defined }}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}", "{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a is defined }}", "{% with a = 1, b = a %}{{ b }}{% endwith %}",
    "{% print n, s %}{% print %}", "{% generation %}x{{ n }}{% endgeneration %}y{% generation %}é{% endgeneration %}", "{% for x in l %}a{% generation %}{{ x }}👋{% endgeneration %}{% endfor %}",
    "{% generation %}{% set g = 1 %}{{ g }}{% endgeneration %}{{ g is defined }}", "{% for x in l %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "{% break %}", "{% continue %}",
    "{% macro m() %}{% generation %}in{% endgeneration %}{% endmacro %}ab{{ m() }}", "a\n{% generation %}\nb\n{% endgeneration %}\nc\n",
    "a {# c #} b{#- c -#} d", "a\n  {# c #}\nb", "{#", "{# a", "a {#+ c +#} \n b", "x{#-#}y", "{% raw %}{{ n }}{% endraw %}", "a {%- raw -%} {{ n }} {%- endraw -%} b", "  {% raw %}\n {{ a }}\n  {% endraw %}\nx", "{% raw %}", "{% raw %}{% endraw",
    "a\n  {% if t %}\n  b\n  {% endif %}\nc\n", "a\n  {%+ if t %}\n  b\n  {%- endif %}\nc\n\n", "  {{ n }}\n{{- s -}}\n x", "{% if t -%}\n  a\n{%- endif +%}\nb", "x {% if t %}y {% endif %} z", "\t{% if t %}\n\n{% endif %}\n", "{%- if t %} a {%- endif -%} \u00a0b",
    "a\r\nb\r{% if t %}\r\nc{% endif %}\r\n", "x\n", "x\n\n", "\n", "", "\n{% set a = 1 %}\n{{ a }}\n", " {%- set a = 1 -%} \n y", "{{ '\\n' }}{{ \"a\nb\" }}{{ '\\x41\\u00e9\\101\\q\\é' }}", "{{ 'a\\\nb' }}",
    "{{ n", "{% if t %}", "{% endif %}", "{% foo %}", "{% for x in l %}", "{% for %}{% endfor %}", "{% if t %}{% endfor %}", "{% set %}", "{% else %}", "{% %}", "{{ }}", "{% if %}a{% endif %}", "{% for x l %}{% endfor %}", "{% set x = %}", "{{ n }} }}", "{{ {'a': 1} }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{{n}}}", "{ { n } }", "{{ '}}' }}", "{{ '%}' }}{% set a = '%}' %}{{ a }}",
    "{% for x in l %}{% set loop = 1 %}{% endfor %}", "{% for loop in l %}{% endfor %}", "{{ nofilter | nope }}", "{% if no %}{{ n | nope }}{% endif %}", "{% if t %}{{ n | nope }}{% endif %}", "{{ n if t else (n | nope) }}", "{% if no %}{% for x in l %}{{ x | nope }}{% endfor %}{% endif %}",
    "{% for x in l %}{{ x }}{%- endfor %}", "{%- for x in l -%} {{ x }} {%- endfor -%}", "{% if t: %}a{% endif %}", "{% for x in l: %}{{ x }}{% endfor %}", "{% for x in (1, 2), (3, 4) %}{{ x }}{% endfor %}", "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{{ 1, 2 }}", "{{ (1, 2), }}",
    "{% set x = l | map('string') %}{{ x | join }}{{ x | join }}", "{% set x = l | select('odd') %}{{ x | length }}", "{% set x = (d | items) %}{% for k, v in x %}{{ k }}{% endfor %}{% for k, v in x %}{{ k }}{% endfor %}", "{% set r = l | reverse %}{{ r | list }}{{ r | list }}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}", "{% set j = joiner(';') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "{% set ns = namespace(f=false) %}{% for x in l if not ns.f %}{{ x }}{% set ns.f = true %}{% endfor %}",
    "{% set m = 'upper' %}{{ s[m]() }}", "{{ s.join }}", "{{ l | map('upper') }}", "{{ messages[0] }}", "{{ self }}", "{{ loop }}", "{{ caller }}", "{{ varargs }}", "{% set messages = people %}{{ messages[0]['name'] }}", "{% if people[0]['name'] == 'bob' %}{% set people = people[1:] %}{% endif %}{{ people | length }}",
    "{% for m in people %}{% if loop.index0 == people | length - 1 %}last{% endif %}{% if (loop.index0 % 2 == 0) != (m.age == 30) %}odd{% endif %}{% endfor %}", "{% for i in range(people | length - 1, -1, -1) %}{{ people[i].name }}{% endfor %}", "{% for i in people[::-1] %}{{ i.name }}{% endfor %}",
    "{%- macro render(x, depth=0) -%}{%- if x is mapping -%}{ {%- for k, v in x.items() -%}{{ k }}:{{ render(v, depth + 1) }}{{ ',' if not loop.last }}{%- endfor -%} }{%- elif x is string -%}'{{ x }}'{%- elif x is iterable -%}[{% for v in x %}{{ render(v) }}{% endfor %}]{%- else -%}{{ x }}{%- endif -%}{%- endmacro -%}{{ render(nested) }}{{ render(mixed) }}",
    "{{ 'a' 'b' ~ 'c' }}", "{{ n is defined and n is not none and n }}", "{{ not missing }}", "{{ missing == missing2 }}", "{{ missing != none }}", "{{ missing in [1] }}", "{{ [missing] }}", "{{ missing | list }}", "{{ missing() }}", "{{ missing.x() }}", "{{ n() }}", "{{ s.nope() }}", "{{ none() }}", "{{ d.a() }}",
    "{{ x.y is defined }}", "{{ d.x.y is defined }}", "{{ d.x is defined and d.x.y }}", "{{ -missing }}", "{{ missing * 2 }}", "{{ missing < 1 }}", "{{ missing[0:1] }}", "{{ l[missing] }}", "{{ d[missing] }}", "{{ l[missing:] }}",
]
