"""Half A: is everything right on this card?

Tiny models x {LoRA, QLoRA, full} in bfloat16 follow curves that recorded.json holds of a CPU, in
float32 and in bfloat16: what the card may be off is three times what bfloat16 itself is off there.
So do every feature alone, and two ranks that share the card.
"""

import importlib.util
import json
import os
import shlex
import shutil
from pathlib import Path

import models
from cases import ALONE, CASES, STEPS, TP, TWO, base_config
from steps import Failure, Step

RECORDED = Path(__file__).with_name("recorded.json")
SANITIZER_REFUSES = "Device not supported"  # under some virtual machines


class Runs:
    """Writes models and configs into a scratch folder and makes steps of them."""

    def __init__(self, root, scratch, device):
        self.root, self.scratch, self.device = root, scratch, device
        self.digests = {}
        for family, changes in models.FAMILIES.items():
            folder = scratch / family
            config = {**models.TINY, **changes}
            models.write_model(folder, config, seed=len(self.digests) + 1)
            models.write_rows(
                scratch / f"{family}.jsonl",
                [24 + (17 * i) % 72 for i in range(4 * STEPS)],
                config["vocab_size"],
            )
            self.digests[family] = models.digest(folder)

    def config(self, name, case, changes):
        family, how = CASES[case]
        config = models.merged(base_config(self.device), {**how, **changes})
        config["model"] = {"path": str(self.scratch / family)}
        config["data"]["train"] = [
            {"path": str(self.scratch / f"{family}.jsonl"), "format": "tokens"}
        ]
        config["output_dir"] = str(self.scratch / "out" / name)
        path = self.scratch / f"{name}.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        return path, Path(config["output_dir"])

    def step(self, name, case, changes, compare, ranks=1, command="train"):
        path, output = self.config(name.replace(" ", "_").replace(",", ""), case, changes)
        words = [self.root / "bin/fttrain", command, f"--config={path}"]
        if ranks > 1:
            words = [self.root / "bin/mpirun", "-np", ranks, *words]

        def check(printed):
            if f" on {self.device}" not in printed:
                raise Failure(f"the summary does not say that it ran on {self.device}")
            return compare(models.metrics(output)) if compare else {}

        return Step(name, words, 60, check, {"OMP_NUM_THREADS": "2"})

    def equal_bits(self, name, case, changes):
        """Two runs of one config, whose losses and norms are equal to the last digit."""
        found = [self.config(f"{case}-{i}".replace(" ", "_"), case, changes) for i in (1, 2)]
        train = [
            shlex.join([str(self.root / "bin/fttrain"), "train", f"--config={path}"])
            for path, _ in found
        ]

        def check(_):
            first, second = (
                [(r["loss"], r["grad_norm"]) for r in models.metrics(out)] for _, out in found
            )
            if first != second:
                raise Failure(f"{first} and {second}")
            return {"steps": len(first)}

        return Step(name, ["bash", "-c", " && ".join(train)], 60, check, {"OMP_NUM_THREADS": "2"})


def follows(want, loss_allowed, norm_allowed):
    """A check of metrics against a recorded curve."""

    def compare(rows):
        if len(rows) != len(want["loss"]):
            raise Failure(f"{len(rows)} steps, not {len(want['loss'])}")
        loss = max(abs(row["loss"] - w) for row, w in zip(rows, want["loss"]))
        norm = max(abs(row["grad_norm"] / w - 1) for row, w in zip(rows, want["grad_norm"]))
        found = {
            "loss": loss,
            "loss_allowed": loss_allowed,
            "grad_norm": norm,
            "grad_norm_allowed": norm_allowed,
        }
        if not (loss <= loss_allowed and norm <= norm_allowed):  # a NaN fails
            raise Failure(f"off the recorded curve: {found}")
        return {name: float(f"{value:.3g}") for name, value in found.items()}

    return compare


def bf16_follows(record):
    exact, rounded = record["fp32"], record["bf16"]
    loss = max(abs(r - e) for r, e in zip(rounded["loss"], exact["loss"]))
    norm = max(abs(r / e - 1) for r, e in zip(rounded["grad_norm"], exact["grad_norm"]))
    return follows(exact, 3 * loss + 2e-3, 3 * norm + 2e-2)


def training_steps(runs, recorded):
    cases, steps = recorded["cases"], []
    if set(cases) != set(CASES):
        raise SystemExit("gpu_day: recorded.json has other cases: bench/gpu_day.sh record")
    for family, made in runs.digests.items():
        if recorded["digests"].get(family) != made:
            raise SystemExit(
                f"gpu_day: the model {family} made here is not the one that was recorded"
            )
    for case in CASES:
        steps.append(runs.step(f"bf16 {case}", case, {}, bf16_follows(cases[case])))
    for case in ("llama lora", "qwen3 full", "mistral qlora"):
        exact = follows(cases[case]["fp32"], 1e-4, 1e-3)
        steps.append(runs.step(f"fp32 {case}", case, {"precision.compute": "fp32"}, exact))
    for feature, (case, changes) in ALONE.items():
        steps.append(runs.step(f"{feature} ({case})", case, changes, bf16_follows(cases[case])))
    for layout, (case, changes) in TWO.items():
        steps.append(
            runs.step(
                f"two ranks: {layout} ({case})", case, changes, bf16_follows(cases[case]), ranks=2
            )
        )
    for case in ("llama full", "qwen3-moe full"):
        name = f"deterministic: two runs are equal ({case})"
        steps.append(runs.equal_bits(name, case, {"train.deterministic": True}))
    for layout, ranks in (("recompute full", 1), ("tp 2", 2)):
        changes = {"train.max_steps": 3, **({"memory.recompute": "full"} if ranks == 1 else TP)}
        steps.append(runs.step(f"verify {layout}", "llama lora", changes, None, ranks, "verify"))
    return steps


def test_steps(root, device):
    """Every test program with label gpu; without a GPU those that can run on a CPU too do so beside
    it, under another name."""
    steps = []
    for test in json.loads((root / "tests/list.json").read_text()):
        if "gpu" not in test["labels"]:
            continue
        command = [word.replace("{root}", str(root)) for word in test["command"]]
        environment = dict(word.split("=", 1) for word in test["environment"])
        # Ranks whose threads wait for a core that another's spin on take minutes for seconds.
        ranks = int(command[command.index("-np") + 1]) if "-np" in command else 1
        threads = max(1, min(4, os.cpu_count() // ranks))
        environment.setdefault("OMP_NUM_THREADS", str(threads))
        limit = int(min(test["timeout"], 90))
        skip = ""
        if device != "cuda":
            skip = "needs a GPU"
        elif command[0] == "python3" and importlib.util.find_spec("numpy") is None:
            skip = "needs numpy"
        steps.append(Step(f"test {test['name']}", command, limit, None, environment, skip))
        if device != "cuda" and "FTTRAIN_TEST_DEVICE" in environment:
            on_cpu = {**environment, "FTTRAIN_TEST_DEVICE": "cpu"}
            steps.append(
                Step(
                    f"test {test['name'].removesuffix('.cuda')} on the CPU",
                    command,
                    180,
                    None,
                    on_cpu,
                )
            )
    return steps


def sanitizer_steps(root, device):
    places = [
        shutil.which("compute-sanitizer"),
        *map(str, Path("/usr/local").glob("cuda*/bin/compute-sanitizer")),
    ]
    found = next((place for place in places if place and Path(place).exists()), None)
    skip = (
        "needs a GPU" if device != "cuda" else "" if found else "compute-sanitizer is not installed"
    )
    steps = []
    for tool, program, words in (
        ("memcheck", "kernels_test", "*Norm*:*GatedUnit*:*SoftCap*:*CrossEntropy*:*Accumulate*:*Rope*"),
        ("memcheck", "nf4_test", "*Slices.Concatenated*:*Slices.AnyRectangle*"),
        ("racecheck", "kernels_test", "*Norm*:*CrossEntropy*"),
        ("racecheck", "adamw_int8_test", "*EveryDeviceGivesTheBitsOfTheCpu*"),
    ):
        command = [found or "compute-sanitizer", "--tool", tool, "--error-exitcode", 9]
        command += [root / "libexec/tests" / program, f"--gtest_filter={words}"]
        steps.append(
            Step(
                f"{tool} {program}",
                command,
                75,
                None,
                {"FTTRAIN_TEST_DEVICE": "cuda"},
                skip,
                SANITIZER_REFUSES,
            )
        )
    return steps


def run(day, root, scratch, wanted):
    backend = Step(
        "what was found", [root / "bin/check"], 60, lambda printed: {"found": printed.strip()}
    )
    day.run([backend])
    runs = Runs(root, scratch, day.device)
    steps = [
        *test_steps(root, day.device),
        *training_steps(runs, json.loads(RECORDED.read_text())),
        *sanitizer_steps(root, day.device),
    ]
    day.run([step for step in steps if wanted(step)], jobs=4 if day.device == "cuda" else 1)


def record(root, scratch):
    """Writes recorded.json anew, on the CPU."""
    import subprocess

    runs, cases = Runs(root, scratch, "cpu"), {}
    for case in CASES:
        cases[case] = {}
        for compute in ("fp32", "bf16"):
            curve = cases[case][compute] = {"loss": [], "grad_norm": []}

            def keep(rows, curve=curve):
                for name, values in curve.items():
                    values.extend(row[name] for row in rows)

            step = runs.step(f"{case} {compute}", case, {"precision.compute": compute}, keep)
            done = subprocess.run(list(map(str, step.command)), capture_output=True, text=True)
            if done.returncode != 0:
                raise SystemExit(f"{case}: {done.stderr}")
            step.check(done.stdout)
        print(
            "{}: {:.4f} -> {:.4f}".format(case, *(cases[case]["fp32"]["loss"][i] for i in (0, -1))),
            flush=True,
        )
    lines = ",\n".join(
        f"{json.dumps(case)}: {json.dumps(curves)}" for case, curves in cases.items()
    )
    made = {"command": "bench/gpu_day.sh record", "digests": runs.digests}
    RECORDED.write_text(json.dumps(made)[:-1] + ',\n"cases": {\n' + lines + "\n}}\n")
    print(RECORDED)
    return 0
