"""Half B: how fast is it?

Ceilings of the card, the kernels beside them, and steps of an 8B geometry with 8 and with 4 layers:
their difference is 4 layers, from which follows what 32 take. On a CPU the same program runs over a
tiny geometry, to see that it runs; its numbers say nothing.
"""

import importlib.util
import json
import shutil
import statistics
import sys
from pathlib import Path

import models
from steps import Failure, Step

HERE = Path(__file__).resolve().parent
REPEAT = 6  # steps of each length; the first two are not counted
CAP_MIB = 24080  # what a card of 24 GB has free


class Sizes:
    """What runs on a GPU, and the small stand-in for it on a CPU."""

    def __init__(self, device):
        gpu = device == "cuda"
        self.tokens = [2048, 4096, 8192] if gpu else [32, 64, 128]
        self.geometry = models.GEOMETRY_8B if gpu else {**models.TINY, **models.FAMILIES["llama"]}
        self.layers = (8, 4) if gpu else (4, 2)
        self.whole = 32
        stage = models.GEOMETRY_70B if gpu else {**self.geometry, "vocab_size": 256}
        self.stage = {**stage, "num_hidden_layers": 40 if gpu else 4}
        tiny = {**models.TINY, **models.FAMILIES["qwen3-moe"]}
        mixture = models.GEOMETRY_30B_A3B if gpu else tiny
        self.mixture = {
            **mixture,
            "num_hidden_layers": 2,
            "vocab_size": min(mixture["vocab_size"], self.stage["vocab_size"]),
        }


def config(model, rows, output, device, tokens, steps, changes):
    base = {
        "model": {"path": str(model)},
        "adapter": {"method": "lora", "r": 16, "alpha": 32, "target_modules": "all-linear"},
        "data": {
            "train": [{"path": str(rows), "format": "tokens"}],
            "sequence_len": tokens,
            "packing": False,
            "shuffle": False,
        },
        "train": {"max_steps": steps, "micro_batch_size": 1, "gradient_accumulation_steps": 1},
        "device": device,
        "output_dir": str(output),
    }
    return models.merged(base, changes)


class Bench:
    def __init__(self, root, scratch, device):
        self.root, self.scratch, self.device = root, scratch, device
        self.sizes = Sizes(device)
        self.steps = []
        self.found = {}  # step name -> {tokens: seconds}

    def prepare(self):
        """Models and rows: every length REPEAT times, one after the other, so that one run times
        all of them."""
        sizes, most = self.sizes, self.sizes.layers[0]
        whole = self.scratch / f"layers-{most}"
        models.write_model(whole, {**sizes.geometry, "num_hidden_layers": most}, device=self.device)
        models.fewer_layers(self.scratch / f"layers-{sizes.layers[1]}", whole, sizes.layers[1])
        models.write_model(self.scratch / "mixture", sizes.mixture, device=self.device)
        lengths = [length for length in sizes.tokens for _ in range(REPEAT)]
        models.write_rows(self.scratch / "all.jsonl", lengths, sizes.geometry["vocab_size"])
        shared = min(sizes.geometry["vocab_size"], sizes.stage["vocab_size"])
        middle = self.scratch / "middle.jsonl"
        models.write_rows(middle, [sizes.tokens[1]] * 4 * REPEAT, shared)

    def train(
        self,
        name,
        layers,
        changes,
        rows="all",
        accumulation=1,
        limit=60,
        before=(),
        model=None,
    ):
        """A step that trains, and keeps the seconds of the program's own steps by their tokens."""
        sizes = self.sizes
        steps = REPEAT * (len(sizes.tokens) if rows == "all" else 1)
        folder = model or self.scratch / f"layers-{layers}"
        output = self.scratch / "out" / name.replace(" ", "_").replace(",", "")
        changes = {"train.gradient_accumulation_steps": accumulation, **changes}
        path = self.scratch / f"{output.name}.yaml"
        text = config(
            folder,
            self.scratch / f"{rows}.jsonl",
            output,
            self.device,
            sizes.tokens[-1],
            steps,
            changes,
        )
        path.write_text(json.dumps(text))

        def check(printed):
            if f" on {self.device}" not in printed:
                raise Failure(f"the summary does not say that it ran on {self.device}")
            by_tokens = {}
            for row in models.metrics(output):
                by_tokens.setdefault(row["tokens"], []).append(row)
            shutil.rmtree(output)  # a model of full training is gigabytes
            seconds = {
                t: statistics.median(r["seconds"] for r in found[2:])
                for t, found in by_tokens.items()
            }
            peak = max(row["peak_bytes"] for found in by_tokens.values() for row in found)
            self.found[name] = seconds
            values = {f"{t}_tokens_seconds": round(s, 5) for t, s in seconds.items()}
            return {
                **values,
                **{f"{t}_tokens_per_s": round(t / s, 1) for t, s in seconds.items()},
                "peak_bytes": peak,
            }

        command = [*before, self.root / "bin/fttrain", "train", f"--config={path}"]
        environment = {}
        if "without look-ahead" in name:
            environment["FTTRAIN_NF4_AHEAD"] = "0"
        if "one expert after the other" in name:
            environment["FTTRAIN_GROUPED_GEMM"] = "0"
        return Step(name, command, limit, check, environment)

    def slope(self, name, more, fewer):
        """The whole model's seconds, from runs with more and with fewer layers."""
        many, few = self.sizes.layers

        def check(_):
            slow, fast = self.found.get(more), self.found.get(fewer)
            if not slow or not fast:
                raise Failure(f"'{more}' or '{fewer}' has no numbers")
            values = {}
            for tokens, seconds in slow.items():
                layer = (seconds - fast[tokens]) / (many - few)
                if layer <= 0 and self.device == "cuda":
                    raise Failure(f"{few} layers take longer than {many} at {tokens} tokens")
                whole = fast[tokens] + layer * (self.sizes.whole - few)
                values[f"{tokens}_tokens_layer_ms"] = round(1e3 * layer, 3)
                values[f"{tokens}_tokens_{self.sizes.whole}_layers_per_s"] = round(
                    tokens / whole, 1
                )
            return values

        return Step(f"{name}: {self.sizes.whole} layers by the slope", ["true"], 5, check)

    def both_depths(self, name, changes, rows="all"):
        many, few = self.sizes.layers
        runs = [f"{name}, {layers} layers" for layers in (many, few)]
        return [
            self.train(runs[0], many, changes, rows),
            self.train(runs[1], few, changes, rows),
            self.slope(name, *runs),
        ]

    def programs(self):
        """The benches of libexec/, on the card, or on two threads."""
        bench, gpu = self.root / "libexec/bench", self.device == "cuda"
        keep = lambda printed: {"printed": printed.splitlines()}
        ceilings = Step(
            "ceilings",
            [sys.executable, HERE / "ceilings.py"],
            60,
            lambda p: json.loads(p.splitlines()[-1]),
        )
        ceilings.skip = "" if gpu else "needs a GPU"
        return [
            ceilings,
            Step("row kernels and attention", [bench / "kernels_bench", self.device, 2], 90, keep),
            Step("NF4", [bench / "nf4_bench", self.device, 2], 60, keep),
            Step(
                "optimizer",
                [bench / "optimizer_step_bench", 500 if gpu else 4, 2, self.device],
                60,
                keep,
            ),
        ]

    def places(self):
        """What is not on the card, beside what is."""
        most, rows = self.sizes.layers[0], "middle"
        major = {"parallel.pipeline_schedule": "layer_major"}
        train = lambda name, changes, accumulation=1: self.train(
            name, most, changes, rows, accumulation
        )
        return [
            train("resident", {}),
            train("recompute full", {"memory.recompute": "full"}),
            train("activations on the host", {"memory.activations": "host"}),
            train("weights on the host", {"memory.base_weights": "host"}),
            train("layer major, resident", major, 4),
            train("layer major, weights on the host", {**major, "memory.base_weights": "host"}, 4),
            train("layer major, weights on disk", {**major, "memory.base_weights": "disk"}, 4),
        ]

    def mixture(self):
        """Two layers of 128 experts, of which a card forms many small products."""
        folder = self.scratch / "mixture"
        attention = {"adapter.target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}
        experts = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
        train = lambda name, changes: self.train(
            f"{name}, a mixture of 2 layers", 2, {**attention, **changes}, "middle", model=folder
        )
        return [
            train("LoRA", {}),
            train("LoRA, one expert after the other", {}),
            train("QLoRA", {"adapter.method": "qlora"}),
            train("LoRA on experts", {"adapter.target_parameters": experts, "adapter.r": 8}),
        ]

    def stage_of_70b(self):
        """Half of a 70B model in NF4, as one of two cards of 24 GB has it: its weights are one
        quantised layer, 40 times."""
        name = f"a 70B stage of 40 layers within {CAP_MIB} MiB"
        changes = {
            "adapter.method": "qlora",
            "memory.embedding": "host",
            "memory.recompute": "full",
            "memory.activations": "host",
        }
        model, geometry = self.scratch / "stage", self.scratch / "stage.json"
        geometry.write_text(json.dumps(self.sizes.stage))
        fttrain, layers = self.root / "bin/fttrain", self.sizes.stage["num_hidden_layers"]
        make = [sys.executable, HERE / "stage_of_70b.py", fttrain, geometry, model]
        cap = [sys.executable, HERE / "capped.py", CAP_MIB] if self.device == "cuda" else ()
        return [
            Step("weights of a 70B stage", make, 80, None, {}),
            self.train(name, layers, changes, "middle", limit=90, before=cap, model=model),
        ]

    def beside_peft(self):
        missing = [
            name for name in ("transformers", "peft") if importlib.util.find_spec(name) is None
        ]
        skip = (
            "needs a GPU"
            if self.device != "cuda"
            else f"not installed: {', '.join(missing)}"
            if missing
            else ""
        )
        command = [
            sys.executable,
            HERE / "beside_peft.py",
            self.scratch / f"layers-{self.sizes.layers[0]}",
            *self.sizes.tokens,
        ]
        return [
            Step(
                "transformers + PEFT, LoRA, 8 layers",
                command,
                60,
                lambda p: json.loads(p.splitlines()[-1]),
                {},
                skip,
            )
        ]

    def all(self):
        qlora, full = {"adapter.method": "qlora"}, {"adapter": {"method": "none"}}
        return [
            *self.programs(),
            *self.both_depths("LoRA", {}),
            *self.both_depths("LoRA, dropout 0.05", {"adapter.dropout": 0.05}),
            *self.both_depths("QLoRA", qlora),
            *self.both_depths("QLoRA without look-ahead", qlora),
            *self.both_depths("full", full, rows="middle"),
            *self.mixture(),
            *self.places(),
            *self.stage_of_70b(),
            *self.beside_peft(),
        ]


def run(day, root, scratch, wanted):
    bench = Bench(root, scratch, day.device)
    if day.device == "cpu":
        print("a tiny geometry, to see that it runs: the numbers say nothing", flush=True)
    prepare = Step("models and rows", [sys.executable, __file__, day.device, scratch], 120)
    day.run([prepare, *(step for step in bench.all() if wanted(step))])


if __name__ == "__main__":
    Bench(None, Path(sys.argv[2]), sys.argv[1]).prepare()
