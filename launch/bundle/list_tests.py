"""list_tests.py BUILD_FOLDER OUTPUT: what ctest would run on a GPU, for a bundle.

Writes OUTPUT, a list of {name, labels, timeout, environment, command} in which {root} stands for
the unpacked bundle, and prints the path of every test program that it takes along: those that are
built, and need neither sources nor a build folder where they run.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

LABELS = {"gpu", "gpus"}  # all programs together are twice what a bundle may have


def ctest(build):
    done = subprocess.run(
        ["ctest", "--test-dir", build, "--show-only=json-v1"], capture_output=True, text=True
    )
    return json.loads(done.stdout)["tests"]


def moved(word, build, sources, programs):
    """A word of a command as it is in the bundle; programs of the tests are added to `programs`."""
    path = Path(word)
    if path.name in ("mpirun", "mpiexec"):
        return "mpirun"
    if re.fullmatch(r"python[0-9.]*", path.name):
        return "python3"
    if path == build / "fttrain":
        return "{root}/bin/fttrain"
    if build in path.parents:
        programs.add(path)
        return "{root}/libexec/tests/" + path.name
    if sources in path.parents:
        return "{root}/" + str(path.relative_to(sources))
    return word


def main():
    build, output = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    cache = (build / "CMakeCache.txt").read_text()
    sources = Path(re.search(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$", cache, re.M).group(1))
    listed, programs = [], set()
    for test in ctest(build):
        properties = {p["name"]: p["value"] for p in test.get("properties", [])}
        if not LABELS & set(properties.get("LABELS", [])) or "command" not in test:
            continue
        needed = set()
        command = [moved(word, build, sources, needed) for word in test["command"]]
        if not all(program.exists() for program in needed):
            continue  # not built
        programs |= needed
        listed.append(
            {
                "name": test["name"],
                "labels": properties.get("LABELS", []),
                "timeout": properties.get("TIMEOUT", 60),
                "environment": properties.get("ENVIRONMENT", []),
                "command": command,
            }
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(listed, indent=1) + "\n")
    for program in sorted(programs):
        print(program)


if __name__ == "__main__":
    main()
