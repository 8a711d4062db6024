"""Runs the fttrain binary as a user does: a YAML file, mpirun, files in and out."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = Path(os.environ.get("FTTRAIN_GOLDEN_DIR", TESTS / "golden"))
sys.path.insert(0, str(GOLDEN))

MPI_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    "HWLOC_HIDE_ERRORS": "2",
    "OMP_NUM_THREADS": "1",
}


class Failure(Exception):
    """What a test prints when the program did something else than it should."""


def load_golden():
    return json.loads((GOLDEN / "parity.json").read_text())


def mpirun(binary, ranks, arguments, timeout, wrapper=(), one_more=()):
    """CompletedProcess of `mpirun -np ranks [wrapper] binary arguments`, or Failure: no end.

    `one_more`: the arguments of a last rank that has others.
    One rank is started as people do it, without mpirun: that also spares the second which mpirun
    gives to the other ranks of a failed job.
    """
    command = [*wrapper, str(binary), *map(str, arguments)]
    if one_more:
        command += [":", "-np", "1", str(binary), *map(str, one_more)]
    if ranks > 1 or wrapper or one_more:
        command = ["mpirun", "-np", str(ranks), *command]
    environment = {**os.environ, **MPI_ENVIRONMENT}
    try:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"no end within {timeout} s: {' '.join(command)}") from None


def run_or_fail(binary, ranks, arguments, timeout=120):
    done = mpirun(binary, ranks, arguments, timeout)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Failure(f"exit {done.returncode}: " + " | ".join(said[:6]))
    return done


def run_config(folder, golden, method, steps, **changes):
    """The run every golden curve is of. `changes` replaces keys: parallel={"tensor": 2} and so
    on."""
    recipe = golden["recipe"]
    full = method == "full"
    config = {
        "model": {"path": str(folder / "model")},
        "adapter": {"method": "none"}
        if full
        else {**adapter_config(folder / "adapter_init"), "method": method},
        "data": {
            "train": [{"path": str(folder / "rows.jsonl"), "format": "tokens"}],
            "sequence_len": 48,
            "packing": False,
            "shuffle": False,
        },
        "train": {
            "max_steps": steps,
            "micro_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "seed": 5,
            "resume": "never",  # tests train again in one folder
        },
        "optimizer": {
            "name": "adamw",
            "learning_rate": recipe["learning_rate"],
            "beta1": recipe["beta1"],
            "beta2": recipe["beta2"],
            "eps": recipe["eps"],
            "max_grad_norm": recipe["max_grad_norm"],
            "weight_decay": recipe["weight_decay_full" if full else "weight_decay_lora"],
        },
        "schedule": {"name": "cosine", "warmup_steps": recipe["warmup_steps"], "min_ratio": 0.0},
        "precision": {"compute": "fp32"},
        "device": "cpu",
        "output_dir": str(folder / "out"),
    }
    for section, keys in changes.items():
        if isinstance(keys, dict):
            config[section] = {**config.get(section, {}), **keys}
        else:
            config[section] = keys
    return config


def adapter_config(adapter_folder):
    """Our keys for the PEFT adapter of a folder."""
    peft = json.loads((adapter_folder / "adapter_config.json").read_text())
    return {
        "method": "lora",
        "r": peft["r"],
        "alpha": peft["lora_alpha"],
        "dropout": peft["lora_dropout"],
        "use_rslora": bool(peft.get("use_rslora")),
        "target_modules": sorted(peft["target_modules"]),
        "init_from": str(adapter_folder),
    }


def write_config(folder, config):
    path = Path(folder) / "run.yaml"
    path.write_text(json.dumps(config, indent=1))  # JSON is YAML
    return path


def train(binary, folder, ranks, config):
    """Runs training and returns the rows of metrics.jsonl."""
    run_or_fail(binary, ranks, ["train", f"--config={write_config(folder, config)}"])
    lines = (Path(config["output_dir"]) / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


def logits(binary, folder, rows, adapter=None, device="cpu", model=None, ranks=1, settings=()):
    """[T, V] float32 logits of each row, from `fttrain logits`."""
    import tiny_models

    tiny_models.write_rows(folder / "logit_rows.jsonl", rows)
    output = folder / "logits.safetensors"
    arguments = [
        "logits",
        f"--model={model or folder / 'model'}",
        f"--input={folder / 'logit_rows.jsonl'}",
        f"--output={output}",
        "--set",
        "precision.compute=fp32",
        "--set",
        f"device={device}",
    ]
    for setting in settings:
        arguments += ["--set", setting]
    if adapter:
        arguments.append(f"--adapter={adapter}")
    run_or_fail(binary, ranks, arguments)
    tensors = tiny_models.read_safetensors(output)
    return [tensors[f"row_{i}"] for i in range(len(rows))]


def run_checks(checks):
    """Runs (name, function that returns a short text or raises Failure) pairs, a line each.

    Failures are said again at the end, where a log that is cut keeps them. Exits the process: 0 if
    all hold, 1 if any failed or there was none.
    """
    failed = []
    for name, check in checks:
        try:
            line = f"ok   {name}: {check()}"
        except (Failure, OSError, KeyError, ValueError) as problem:
            line = f"FAIL {name}: {type(problem).__name__}: {problem}"
            failed.append(line)
        print(line, flush=True)
    print(f"{len(checks) - len(failed)} of {len(checks)} hold", *failed, sep="\n")
    sys.exit(1 if failed or not checks else 0)


def scratch_folder():
    return tempfile.TemporaryDirectory(prefix="fttrain-parity-")
