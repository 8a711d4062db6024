#!/usr/bin/env python3
"""How do speed and memory compare with transformers + PEFT on this machine's CPU?

    .venv/bin/python bench/compare_peft.py build/release/fttrain

Both sides train the same random model on the same tokens with the same number of threads, one run
after the other in turns (A, B, A, B, ...); the table shows medians. transformers gets its best
ordinary settings: sdpa attention, fused AdamW, no checkpointing. The questions, of a Llama:
  lora-fp32, lora-bf16, full-fp32, full-bf16   fttrain against transformers + PEFT
  qlora-bf16, qlora-fp32                       the same over NF4 weights (bitsandbytes there), with
                                               gradient accumulation 4
  full-bf16-int8                               8-bit optimizer state against PEFT's side as it is
  tp2-lora-fp32, tp2-lora-bf16                 two ranks of half the threads against one rank
Of another model with its name behind an @:
  lora-bf16@moe, lora-fp32@moe                 qwen3_moe, 16 experts of which 4 take a token, LoRA on
                                               attention; transformers' loop over experts (eager)
                                               and its grouped_mm; and the matrix products of a
                                               step of eager alone, one after the other with nothing
                                               around them: a roof over whoever forms them by ATen
  lora-bf16@moe-many, lora-fp32@moe-many       the same of 128 experts of which 8 take a token
  lora-bf16@moe-experts, lora-fp32@moe-experts the same with LoRA on the experts, too
  lora-bf16@gemma3                             a dense model of norms and windows of its own
These take under six minutes (two cores) and go into a folder of their own:
    .venv/bin/python bench/compare_peft.py build/release/fttrain --steps 4 --warm-up 1 --repeat 1 \
        --modes lora-bf16@moe lora-fp32@moe lora-bf16@gemma3 --results build/bench/families
Memory is what a process takes on top of the loaded weights: its largest resident size in the steps
minus its resident size when loading had ended (summed over ranks); for one fttrain rank also its
largest tensor bytes minus the weights', whichever is more.
"""

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MPI_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
}
VOCABULARY = 32000
MIXTURE = {
    "model_type": "qwen3_moe",
    "hidden_size": 512,
    "norm_topk_prob": True,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 2048,
}
MODELS = {
    "llama": {
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 12,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
    },
    # Both 0.3 billion parameters; the second's experts are as narrow as Qwen3-30B-A3B's beside its hidden size.
    "moe": {**MIXTURE, "moe_intermediate_size": 1280, "num_experts": 16, "num_experts_per_tok": 4},
    "moe-many": {**MIXTURE, "moe_intermediate_size": 192, "num_experts": 128, "num_experts_per_tok": 8},
    "gemma3": {
        "model_type": "gemma3_text",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "sliding_window": 256,
        "max_position_embeddings": 2048,
    },
}
QUICK = {"hidden_size": 256, "num_hidden_layers": 2}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
TARGETS = {"moe": ATTENTION, "moe-experts": ATTENTION, "moe-many": ATTENTION}
PARAMETERS = {"moe-experts": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}
EXPERTS = ["eager", "grouped_mm"]  # transformers' ways with them
PRODUCTS = "the products alone"
ROWS, TOKENS, LORA_RANK = 2, 512, 16
ACCUMULATION = {"qlora": 4}  # microbatches a step; 1 where not named
PEFT_MODES = ["lora-fp32", "lora-bf16", "full-fp32", "full-bf16", "qlora-bf16"]
TP_MODES = ["tp2-lora-fp32", "tp2-lora-bf16"]


def split_mode(mode):
    """[method, precision, ...] and the model of it."""
    words, _, model = mode.partition("@")
    return words.split("-"), model or "llama"


def model_name(mode):
    return split_mode(mode)[1].removesuffix("-experts")


def model_folder(folder, mode):
    name = model_name(mode)
    return folder / ("model" if name == "llama" else f"model-{name}")


def make_model(folder, mode):
    """Once; 16-bit, 0.2 to 0.6 GB."""
    import torch
    import transformers

    made = model_folder(folder, mode)
    if (made / "config.json").exists():
        return
    torch.manual_seed(1)
    keys = {"model_type": "llama", "vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2,
            **MODELS[model_name(mode)]}
    config = transformers.AutoConfig.for_model(**keys)
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    part = made.with_suffix(".part")
    model.save_pretrained(part)
    part.rename(made)


def make_rows(folder, steps):
    import torch

    generator = torch.Generator().manual_seed(2)
    rows = steps * ROWS * max(ACCUMULATION.values())
    ids = torch.randint(0, VOCABULARY, (rows, TOKENS), generator=generator)
    lines = [json.dumps({"input_ids": row, "labels": row}) for row in ids.tolist()]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")


class MemoryWatch:
    """Resident bytes of every process of a program that has a given argument, while it runs."""

    def __init__(self, program, argument):
        self.program, self.argument = program, argument.encode()
        self.samples, self.done = [], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.done.wait(0.01):
            status = {pid: status_bytes(pid) for pid in self.pids()}
            self.samples.append((time.time(), {pid: both for pid, both in status.items() if both[0]}))

    def pids(self):
        for folder in (Path("/proc") / p for p in os.listdir("/proc") if p.isdigit()):
            try:
                is_program = (folder / "comm").read_text().strip() == self.program
                if is_program and self.argument in (folder / "cmdline").read_bytes().split(b"\0"):
                    yield int(folder.name)
            except OSError:  # it has ended
                continue

    def above(self, loaded_at, ended_at):
        """Peak between these times minus what was resident at the first, summed over processes. A
        process that ends maps a hundred megabytes of CUDA's libraries to unload them: not a step's."""
        before = [s for t, s in self.samples if t <= loaded_at]
        after = [s for t, s in self.samples if loaded_at < t <= ended_at]
        total = 0
        for pid, (resident, _) in before[-1].items():
            earlier = max(s.get(pid, (0, 0))[0] for s in before)
            sampled = max(s.get(pid, (0, 0))[0] for s in after)
            # The kernel's own high-water mark misses nothing, but it may stem from loading.
            highest = max(s.get(pid, (0, 0))[1] for s in after)
            total += (highest if sampled > earlier else sampled) - resident
        return total


def status_bytes(pid):
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0, 0
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return tuple(int(fields.get(key, "0 kB").split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))


def products_alone(step):
    """Seconds of the matrix products that a call of `step` forms, each on memory of its own."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    places = {torch.ops.aten.mm.default: (0, 1), torch.ops.aten.addmm.default: (1, 2)}
    like = lambda x: (tuple(x.shape), tuple(x.stride()), x.dtype)

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function in places:
                products.append([like(args[i]) for i in places[function]])
            return function(*args, **(kwargs or {}))

    products, left = [], {}
    with Record():
        step()
    make = lambda shape, stride, dtype: torch.empty_strided(shape, stride, dtype=dtype).fill_(0.5)
    pairs = []
    for a, b in products:
        if a not in left:
            left[a] = make(*a)
        pairs.append((left[a], make(*b)))
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        for a, b in pairs:
            torch.mm(a, b)
        seconds.append(time.perf_counter() - start)
    return seconds


def peft_side(folder, mode, experts, steps):
    """Runs in a process of its own; prints one JSON line."""
    import peft
    import torch
    import transformers

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    (method, precision, *_), name = split_mode(mode)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    alone = experts == PRODUCTS
    more = {"experts_implementation": EXPERTS[0] if alone else experts} if experts else {}
    if method == "qlora":
        more["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    model = transformers.AutoModelForCausalLM.from_pretrained(
        model_folder(folder, mode), dtype=dtype, **more
    )
    model.config.use_cache = False
    if method != "full":
        lora = peft.LoraConfig(
            r=LORA_RANK,
            lora_alpha=2 * LORA_RANK,
            target_modules=TARGETS.get(name, "all-linear"),
            target_parameters=PARAMETERS.get(name),
            task_type="CAUSAL_LM",
        )
        model = peft.get_peft_model(model, lora)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, fused=True)
    rows = [json.loads(line)["input_ids"] for line in (folder / "rows.jsonl").open()]
    loaded, _ = status_bytes("self")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    if alone:
        ids = torch.tensor(rows[:ROWS])
        seconds = products_alone(lambda: model(input_ids=ids, labels=ids).loss.backward())
        print(json.dumps({"seconds": [min(seconds)] * steps, "loss": [0.0], "memory_bytes": 0}))
        return
    seconds, losses = [], []
    accumulation = ACCUMULATION.get(method, 1)
    micro = 0
    for _ in range(steps):
        start = time.perf_counter()
        total = 0.0
        for _ in range(accumulation):
            ids = torch.tensor(rows[micro * ROWS : (micro + 1) * ROWS])
            micro += 1
            # Every microbatch has as many targets: the mean of means is the mean.
            loss = model(input_ids=ids, labels=ids).loss / accumulation
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
        seconds.append(time.perf_counter() - start)
    _, highest = status_bytes("self")
    print(json.dumps({"seconds": seconds, "loss": losses, "memory_bytes": highest - loaded}))


def run_peft(options, mode, experts=""):
    command = [sys.executable, __file__, "--peft-side", mode, experts, str(options.folder)]
    command += ["--steps", str(options.steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def fttrain_config(options, mode, ranks):
    (method, precision, *state), name = split_mode(mode)
    accumulation = ACCUMULATION.get(method, 1)
    lora = {
        "method": method,
        "r": LORA_RANK,
        "alpha": 2 * LORA_RANK,
        "dropout": 0.0,
        "target_modules": TARGETS.get(name, "all-linear"),
    }
    if name in PARAMETERS:
        lora["target_parameters"] = PARAMETERS[name]
    return {
        "model": {"path": str(model_folder(options.folder, mode))},
        "adapter": {"method": "none"} if method == "full" else lora,
        "data": {
            "train": [{"path": str(options.folder / "rows.jsonl"), "format": "tokens"}],
            "sequence_len": TOKENS,
            "packing": False,
            "shuffle": False,
        },
        "train": {
            "max_steps": options.steps,
            "micro_batch_size": ROWS,
            "gradient_accumulation_steps": accumulation,
        },
        "optimizer": {
            "name": "adamw",
            "learning_rate": 1e-4,
            "max_grad_norm": 1.0,
            "state": state[0] if state else "fp32",
        },
        "schedule": {"name": "constant"},
        "parallel": {
            "tensor": ranks,
            # Each layer is dequantised once for all microbatches of a step.
            "pipeline_schedule": options.schedule if accumulation > 1 else "1f1b",
        },
        "precision": {"compute": precision},
        "device": "cpu",
        "output_dir": str(options.folder / "out"),
    }


def run_fttrain(options, mode, ranks=1):
    config = options.folder / "run.yaml"
    config.write_text(json.dumps(fttrain_config(options, mode, ranks)))
    output = options.folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    argument = f"--config={config}"
    command = [str(options.binary.resolve()), "train", argument]
    if ranks > 1:
        command = ["mpirun", "-np", str(ranks), *command]
    threads = max(1, options.threads // ranks)
    environment = {**os.environ, **MPI_ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
    watch = MemoryWatch(options.binary.name, argument)
    watch.thread.start()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    loaded_at = None
    while process.poll() is None:
        metrics = output / "metrics.jsonl"
        if loaded_at is None and metrics.exists() and metrics.read_text().endswith("\n"):
            so_far = [json.loads(line)["seconds"] for line in metrics.read_text().splitlines()]
            loaded_at = metrics.stat().st_mtime - sum(so_far)
        time.sleep(0.01)
    watch.done.set()
    watch.thread.join()
    if process.returncode != 0:
        sys.exit(f"fttrain failed: {process.stderr.read()}")
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    ledger_peak = max(row["peak_bytes"] for row in rows)
    above = watch.above(loaded_at, (output / "metrics.jsonl").stat().st_mtime)
    if ranks == 1:
        # Gradients and optimizer state exist before the first step, so the resident size then
        # hides them; the ledger of tensor bytes does not.
        above = max(above, ledger_peak - weight_bytes(options, mode))
    return {
        "seconds": [row["seconds"] for row in rows],
        "loss": [row["loss"] for row in rows],
        "memory_bytes": above,
        "ledger_peak_bytes": ledger_peak,
    }


def weight_bytes(options, mode):
    """Bytes of the model's weights as the run stores them."""
    with open(model_folder(options.folder, mode) / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    numel = {name: math.prod(tensor["shape"]) for name, tensor in header.items()}
    plain = 2 if "bf16" in mode else 4
    if not mode.startswith("qlora"):
        return sum(numel.values()) * plain
    # Codes, 8-bit scales of 64 elements, float32 scales of 256 of those.
    packed = 1 / 2 + 1 / 64 + 4 / (64 * 256)
    return sum(n * (packed if "_proj" in name else plain) for name, n in numel.items())


def summary(runs, warm_up, step_tokens):
    """Medians over runs; a run's speed is that of its median step after the warm-up."""
    speeds = [step_tokens / statistics.median(run["seconds"][warm_up:]) for run in runs]
    result = {
        "tokens_per_second": statistics.median(speeds),
        "tokens_per_second_of_runs": speeds,
        "memory_bytes": statistics.median(run["memory_bytes"] for run in runs),
        "first_loss": runs[0]["loss"][0],
        "last_loss": runs[0]["loss"][-1],
    }
    if "ledger_peak_bytes" in runs[0]:
        result["ledger_peak_bytes"] = runs[0]["ledger_peak_bytes"]
    return result


def sides_of(options, mode):
    """[(name, function)] of a question; the first side is what the second is held to."""
    if mode in TP_MODES:
        plain = mode.removeprefix("tp2-")
        return [
            ("fttrain, one rank", lambda: run_fttrain(options, plain)),
            ("fttrain, two ranks", lambda: run_fttrain(options, plain, ranks=2)),
        ]
    ours = ("fttrain", lambda: run_fttrain(options, mode))
    if "num_experts" in MODELS[model_name(mode)]:
        theirs = [(f"transformers + peft, {way}", lambda way=way: run_peft(options, mode, way)) for way in EXPERTS]
        roof = (PRODUCTS, lambda: run_peft(options, mode, PRODUCTS))
        return [*theirs, ours, roof]
    return [("transformers + peft", lambda: run_peft(options, mode)), ours]


def compare(options, mode):
    sides = [side for side in sides_of(options, mode) if options.only in side[0]]
    runs = {name: [] for name, _ in sides}
    for _ in range(options.repeat):
        for name, run in sides:
            runs[name].append(run())
    step_tokens = ROWS * TOKENS * ACCUMULATION.get(mode.split("-")[0], 1)
    return {name: summary(results, options.warm_up, step_tokens) for name, results in runs.items()}


def machine():
    text = Path("/proc/cpuinfo").read_text()
    model = next((x.split(":")[1].strip() for x in text.splitlines() if "model name" in x), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, {platform.platform()}"


def table(results):
    lines = [
        "| question | side | tokens/s | ratio | memory above weights, MiB | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for mode, sides in results.items():
        first = next(iter(sides.values()))
        for name, side in sides.items():
            speed = side["tokens_per_second"] / first["tokens_per_second"]
            memory = side["memory_bytes"] / first["memory_bytes"]
            lines.append(
                f"| {mode} | {name} | {side['tokens_per_second']:.0f} | {speed:.2f} | "
                f"{side['memory_bytes'] / 2**20:.0f} | {memory:.2f} |"
            )
    return "\n".join(lines)


def write_results(options, results):
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    import bitsandbytes
    import peft
    import torch
    import transformers

    about = {
        "machine": machine(),
        "commit": commit,
        "command": "bench/compare_peft.py " + " ".join(sys.argv[1:]),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, peft, bitsandbytes)},
        "threads": options.threads,
        "steps": options.steps,
        "repeat": options.repeat,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"about": about, "results": results}, indent=1) + "\n"
    (options.results / "compare_peft.json").write_text(content)
    facts = "\n".join(f"- {key}: {value}" for key, value in about.items())
    text = f"# fttrain and transformers + PEFT on a CPU\n\n{table(results)}\n\n{facts}\n"
    (options.results / "compare_peft.md").write_text(text)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary", type=Path, nargs="?", default=ROOT / "build/release/fttrain")
    parser.add_argument("--modes", nargs="*", default=PEFT_MODES + TP_MODES)
    parser.add_argument("--only", default="", help="sides whose name contains this")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--warm-up", type=int, default=2, help="steps not counted")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--schedule", default="layer_major", help="with accumulation; or 1f1b")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/bench/compare_peft")
    parser.add_argument("--results", type=Path, default=ROOT / "bench/results")
    parser.add_argument("--quick", action="store_true", help="a tiny model: does the bench work?")
    parser.add_argument("--peft-side", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peft_side:
        mode, experts, folder = options.peft_side
        peft_side(Path(folder), mode, experts, options.steps)
        return
    if options.quick:
        for model in MODELS.values():
            model.update(QUICK)
        options.folder = options.folder.with_name("compare_peft_quick")
    options.folder.mkdir(parents=True, exist_ok=True)
    make_rows(options.folder, options.steps)
    results = {}
    for mode in options.modes:
        make_model(options.folder, mode.removeprefix("tp2-"))
        results[mode] = compare(options, mode)
        print(json.dumps({mode: results[mode]}), flush=True)
    write_results(options, results)
    print(table(results))


if __name__ == "__main__":
    main()
