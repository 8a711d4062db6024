#!/usr/bin/env python3
"""one_definition_test.py SOURCES: no two types outside of nameless namespaces have one name.

Compilers see one file at a time and linkers keep one of two functions of a name: two types of one name would share
destructors, whatever their members are. Test programs are linked with the libraries' files, one of them at a time.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

ROOMS = ["runtime", "parallel", "model", "data", "launch", "configs", "bench"]
TYPE = re.compile(r"(?:struct|class|enum class|enum|union) (?:alignas\(.*?\) )?(\w+)(?: final)?(?: : [^;]*)?(?: \{|$)")


def types(path):
    """Names, with the namespaces around them, of what is defined at the left margin."""
    around = []
    for line in path.read_text().splitlines():
        opened = re.match(r"(?:inline )?namespace ?([\w:]*) ?\{$", line)
        if opened:
            around.append(opened.group(1))
        elif line.startswith("}  // namespace"):
            around.pop()
        elif (found := TYPE.match(line)) and "" not in around:
            yield "::".join([*around, found.group(1)])


def main():
    sources = Path(sys.argv[1])
    where = defaultdict(set)
    for room in ROOMS:
        for path in sorted((sources / room).rglob("*")):
            if path.suffix in (".h", ".cc", ".cu", ".cuh"):
                for name in types(path):
                    where[name].add(str(path.relative_to(sources)))
    twice = {name: paths for name, paths in where.items() if len(paths) > 1}
    for name, paths in sorted(twice.items()):
        print(f"{name}: {', '.join(sorted(paths))}")
    print(f"{len(where)} types, {len(twice)} names that more than one has")
    return 1 if twice or len(where) < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
