"""fetch_templates.py FOLDER: the chat templates of axolotl, TRL, vLLM and LLaMA-Factory, from their packages.

Each pinned package is downloaded by pip (vLLM's wheel has 340 MB) and kept only as its *.jinja files. LLaMA-Factory
has its templates as Python objects, which it turns into Jinja itself: that code runs here, with a tokenizer of names alone.
Wheels only: nothing is ever built. A package that cannot be had is told, the others are fetched, and the exit code is 1.
"""
import pathlib
import re
import subprocess
import sys
import tempfile
import types
import zipfile

PACKAGES = ["llamafactory==0.9.5", "axolotl==0.19.0", "trl==1.16.0", "vllm==0.33.0"]
LIMIT_SECONDS = 600  # of one download


class CannotBeHad(Exception):
    pass


def wheel_of(requirement, folder):
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-input", "--no-deps",
               "--only-binary=:all:", "--timeout=30", "--retries=2", "-d", folder, requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise CannotBeHad(f"pip was not done after {LIMIT_SECONDS} s") from None
    wheels = list(pathlib.Path(folder).glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise CannotBeHad((done.stderr.strip() or "pip brought no wheel").splitlines()[-1])
    return zipfile.ZipFile(wheels[0])


def llamafactory(wheel, scratch):
    """{name: text}: what LLaMA-Factory writes into a tokenizer without a template of its own."""
    wheel.extractall(scratch)
    root = pathlib.Path(scratch, "llamafactory")
    for name in ("llamafactory", "llamafactory.data", "llamafactory.extras"):
        package = types.ModuleType(name)  # without its __init__, which imports everything
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    for name, members in {"datasets": ("DatasetDict", "concatenate_datasets", "interleave_datasets"),
                          "llamafactory.data.mm_plugin": ("get_mm_plugin",)}.items():
        sys.modules[name] = types.ModuleType(name)
        for member in members:
            setattr(sys.modules[name], member, lambda *args, **kwargs: None)
    from llamafactory.data import template as module
    tokenizer = types.SimpleNamespace(bos_token="<s>", bos_token_id=1, eos_token="</s>", eos_token_id=2)
    texts = {}
    for name, template in module.TEMPLATES.items():
        try:
            texts[name] = template._get_jinja_template(tokenizer)
        except ValueError as error:
            print(f"llamafactory {name}: {error}")
    return {f"{name}.jinja": text.encode() for name, text in texts.items()}


def files_of(wheel):
    names = [name for name in wheel.namelist() if re.search(r"chat_templates/.*\.jinja$", name)]
    return {pathlib.Path(name).name: wheel.read(name) for name in names}


def fetch(requirement, target):
    with tempfile.TemporaryDirectory() as scratch:
        with wheel_of(requirement, scratch) as wheel:
            texts = llamafactory(wheel, scratch) if target.name == "llamafactory" else files_of(wheel)
    if not texts:
        raise CannotBeHad("it has no templates where they are looked for")
    target.mkdir(parents=True)
    for name, text in texts.items():
        (target / name).write_bytes(text)
    print(f"{target.name}: {len(texts)} templates", flush=True)


def main():
    missing = []
    for requirement in PACKAGES:
        target = pathlib.Path(sys.argv[1], requirement.split("==")[0])
        if target.is_dir():
            continue
        try:
            fetch(requirement, target)
        except CannotBeHad as reason:
            missing.append(f"{requirement} cannot be had as a wheel: {reason}")
            print(missing[-1], file=sys.stderr, flush=True)
    if missing:
        sys.exit(f"{len(missing)} of {len(PACKAGES)} packages are missing: what needs their templates is not tried")


if __name__ == "__main__":
    main()
