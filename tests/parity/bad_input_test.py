#!/usr/bin/env python3
"""bad_input_test.py BINARY: what the program cannot do is one clear line on stderr and a failed
mpirun, within seconds.

Every case starts from a run that works (the first case shows it), spoils one thing and names what
the line must say.
"""

import json
import os
import re
import shutil
import struct
import sys
import time
from pathlib import Path

import harness
import tiny_models

LIMIT_SECONDS = 20
# What mpirun itself adds when a rank fails: blocks between rulers, and lines that begin with
# [host:pid].
MPIRUN_NOISE = re.compile(
    r"^-{20,}$.*?^-{20,}$\n|^\[[^\] ]+:\d+\] [^\n]*\n", re.MULTILINE | re.DOTALL
)


def tensor_parallel(size):
    return lambda folder, config: config["parallel"].update(tensor=size)


def edit_json(path, **keys):
    tiny_models.write_json(path, {**json.loads(path.read_text()), **keys})


def first_shard(folder):
    return folder / "model" / "model-00001-of-00003.safetensors"


def missing_shard(folder, config):
    (folder / "model" / "model-00002-of-00003.safetensors").unlink()


def truncated_shard(folder, config):
    path = first_shard(folder)
    path.write_bytes(path.read_bytes()[:-1000])


def header_longer_than_file(folder, config):
    path = first_shard(folder)
    path.write_bytes(struct.pack("<Q", 1 << 62) + path.read_bytes()[8:])


def overlapping_tensors(folder, config):
    path = first_shard(folder)
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    same_shape = [
        n
        for n in header
        if n.endswith("input_layernorm.weight") or n.endswith("attention_layernorm.weight")
    ]
    header[same_shape[1]]["data_offsets"] = header[same_shape[0]]["data_offsets"]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def shard_outside_the_folder(folder, config):
    index = folder / "model" / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["model.norm.weight"] = "../stolen.safetensors"
    tiny_models.write_json(index, content)


def unknown_architecture(folder, config):
    edit_json(
        folder / "model" / "config.json", model_type="mamba", architectures=["MambaForCausalLM"]
    )


def lfs_pointer(name):
    def spoil(folder, config):
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n"
        (folder / "model" / name).write_text(text)

    return spoil


def hub_name_that_is_nowhere(folder, config):
    config["model"]["path"] = "no-such-org/tiny-model"


def tied_beside_a_head(folder, config):
    edit_json(folder / "model" / "config.json", tie_word_embeddings=True)


def nothing(folder, config):
    pass


def unknown_key(folder, config):
    config["train"]["max_step"] = 3


def unknown_method(folder, config):
    config["adapter"]["method"] = "dora"


def negative_learning_rate(folder, config):
    config["optimizer"]["learning_rate"] = -1.0


def missing_model(folder, config):
    shutil.rmtree(folder / "model")


def missing_data_file(folder, config):
    (folder / "rows.jsonl").unlink()


def bad_row(text):
    def spoil(folder, config):
        lines = (folder / "rows.jsonl").read_text().splitlines()
        lines[2] = text
        (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")

    return spoil


def all_masked(folder, config):
    rows = [
        {"input_ids": row["input_ids"], "labels": [-100] * len(row["labels"])}
        for row in tiny_models.token_rows("llama_grouped")
    ]
    tiny_models.write_rows(folder / "rows.jsonl", rows)


def tokenizer_beyond_embedding(folder, config):
    """<|im_start|> becomes 700; the embedding has 512 rows."""
    path = folder / "model" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"][0]["id"] = 700
    for added in content["added_tokens"]:  # in the vocabulary ids may have gaps
        content["model"]["vocab"][added["content"]] = added["id"]
    tiny_models.write_json(path, content)
    message = {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    }
    tiny_models.write_rows(folder / "rows.jsonl", [message])
    config["data"]["train"][0]["format"] = "messages"


def adapter_of_another_rank(folder, config):
    config["adapter"]["r"] = 9


def output_is_a_file(folder, config):
    Path(config["output_dir"]).write_text("")


def pipe_for_data(folder, config):
    (folder / "rows.jsonl").unlink()
    os.mkfifo(folder / "rows.jsonl")


def too_many_epochs(folder, config):
    del config["train"]["max_steps"]
    config["train"]["num_epochs"] = 1e7


def warmup_beyond_the_epochs(folder, config):
    del config["train"]["max_steps"]
    config["train"]["num_epochs"] = 2
    config["schedule"]["warmup_steps"] = 100


def longer_than_the_model(folder, config):
    edit_json(folder / "model" / "config.json", max_position_embeddings=8)


def first_step_masked(folder, config):
    rows = tiny_models.token_rows("llama_grouped")
    masked = [{**row, "labels": [-100] * len(row["labels"])} for row in rows]
    tiny_models.write_rows(folder / "rows.jsonl", masked + rows)


def large_adapter(folder, config):
    config["adapter"].update(r=64)
    del config["adapter"]["init_from"]
    config["train"]["disk_full_wait"] = 0


def frozen_weights_on_disk(folder, config):
    config["parallel"].update(tensor=1)  # half a layer would fit
    config["memory"] = {"base_weights": "disk"}


def scratch_folder_below_a_file(folder, config):
    frozen_weights_on_disk(folder, config)
    config["memory"]["scratch_folder"] = str(folder / "rows.jsonl" / "scratch")


# No file may grow beyond 64 KiB: what a full disk is to a program that writes 700 KiB.
FULL_DISK = ("--mca", "btl", "self,tcp")  # shared memory is a file too
FULL_DISK += ("bash", "-c", 'trap "" XFSZ; ulimit -f 64; exec "$@"', "bash")

USAGE, BAD_FILE, MISSING, CANNOT_CREATE, CANNOT_WRITE = 64, 65, 66, 73, 74

# (what is wrong, exit code, how to spoil the run, ranks, what the line must say)
CASES = [
    (
        "tensor parallel 3 does not divide 8 heads",
        USAGE,
        tensor_parallel(3),
        3,
        r"\b3\b.*heads.*\b8\b|heads.*\b8\b.*\b3\b",
    ),
    (
        "3 ranks are not a multiple of tensor parallel 2",
        USAGE,
        tensor_parallel(2),
        3,
        r"\b3\b.*\b2\b|\b2\b.*\b3\b",
    ),
    ("1 rank, but tensor parallel 2", USAGE, tensor_parallel(2), 1, r"\b1\b.*\b2\b|\b2\b.*\b1\b"),
    ("a shard is missing", MISSING, missing_shard, 2, r"model-00002-of-00003\.safetensors"),
    ("a shard is truncated", BAD_FILE, truncated_shard, 2, r"model-00001-of-00003\.safetensors"),
    (
        "a header is longer than its file",
        BAD_FILE,
        header_longer_than_file,
        2,
        r"model-00001-of-00003\.safetensors.*header",
    ),
    (
        "two tensors share bytes",
        BAD_FILE,
        overlapping_tensors,
        2,
        r"model-00001-of-00003\.safetensors.*layernorm",
    ),
    (
        "the index names a file outside the folder",
        BAD_FILE,
        shard_outside_the_folder,
        2,
        r"\.\./stolen\.safetensors",
    ),
    (
        "a shard is a Git LFS pointer",
        BAD_FILE,
        lfs_pointer("model-00002-of-00003.safetensors"),
        2,
        r"model-00002-of-00003\.safetensors is a Git LFS pointer.*git lfs pull",
    ),
    (
        "the config is a Git LFS pointer",
        BAD_FILE,
        lfs_pointer("config.json"),
        2,
        r"config\.json is a Git LFS pointer",
    ),
    (
        "a model of the hub is in no cache",
        MISSING,
        hub_name_that_is_nowhere,
        2,
        r"no-such-org/tiny-model.*looked in.*hf download no-such-org/tiny-model --local-dir",
    ),
    (
        "a tied model's file has another head",
        BAD_FILE,
        tied_beside_a_head,
        2,
        r"lm_head\.weight.*differs from.*tie_word_embeddings.*false",
    ),
    ("the model folder is missing", MISSING, missing_model, 2, r"model"),
    ("the architecture is unknown", BAD_FILE, unknown_architecture, 2, r"mamba|MambaForCausalLM"),
    ("a config key is misspelt", USAGE, unknown_key, 2, r"run\.yaml:\d+.*max_step\b.*max_steps"),
    ("a method is unknown", USAGE, unknown_method, 2, r"run\.yaml:\d+.*dora.*qlora"),
    ("a learning rate is negative", USAGE, negative_learning_rate, 2, r"run\.yaml:\d+.*learning_rate"),
    ("the data file is missing", MISSING, missing_data_file, 2, r"rows\.jsonl"),
    ("a row is no JSON", BAD_FILE, bad_row('{"input_ids": [1, 2'), 2, r"rows\.jsonl:3"),
    ("a row lacks its key", BAD_FILE, bad_row('{"tokens": [1, 2]}'), 2, r"rows\.jsonl:3.*input_ids"),
    (
        "a row has fewer labels than ids",
        BAD_FILE,
        bad_row('{"input_ids": [1, 2, 3], "labels": [1, 2]}'),
        2,
        r"rows\.jsonl:3",
    ),
    (
        "a token id is beyond the embedding",
        BAD_FILE,
        bad_row('{"input_ids": [1, 512], "labels": [1, 512]}'),
        2,
        r"\b512\b",
    ),
    ("no row has a target", BAD_FILE, all_masked, 2, r"target|mask"),
    (
        "the tokenizer has ids beyond the embedding",
        BAD_FILE,
        tokenizer_beyond_embedding,
        2,
        r"\b700\b.*\b512\b|\b512\b.*\b700\b",
    ),
    (
        "the adapter to start from has another rank",
        BAD_FILE,
        adapter_of_another_rank,
        2,
        r"\b9\b.*\b4\b|\b4\b.*\b9\b",
    ),
    ("the output folder is a file", CANNOT_CREATE, output_is_a_file, 2, r"/out\b"),
    (
        "the disk is full when the adapter is written",
        CANNOT_WRITE,
        large_adapter,
        2,
        r"adapter_model\.safetensors.*|.*/adapter\b",
        FULL_DISK,
    ),
    (
        "the disk is full when the frozen weights go there",
        CANNOT_WRITE,
        frozen_weights_on_disk,
        2,
        r"memory\.base_weights disk: .*bytes in .*/out\b.*File too large.*scratch_folder",
        FULL_DISK,
    ),
    (
        "the folder for frozen weights cannot be made",
        CANNOT_WRITE,
        scratch_folder_below_a_file,
        2,
        r"memory\.scratch_folder .*rows\.jsonl/scratch: .*Not a directory",
    ),
    ("the data file is a pipe", BAD_FILE, pipe_for_data, 2, r"rows\.jsonl.*not a regular file"),
    ("too many epochs", USAGE, too_many_epochs, 2, r"run\.yaml:\d+.*num_epochs.*below 1e\+06"),
    (
        "the warm-up is longer than the epochs",
        USAGE,
        warmup_beyond_the_epochs,
        2,
        r"run\.yaml:\d+: .*warmup_steps' 100 is more than .* \d+ steps \(train\.num_epochs 2 = ",
    ),
    (
        "an example is longer than the model's positions",
        USAGE,
        longer_than_the_model,
        2,
        r"max_position_embeddings 8",
    ),
    (
        "two configs",
        USAGE,
        nothing,
        2,
        r"two configs, 'other\.yaml' and '.*run\.yaml': give one",
        (),
        ("train", "other.yaml"),
    ),
    ("a key without its section", USAGE, nothing, 2, r"r=4.*adapter\.r\b", (), ("train", "r=4")),
    ("a flag's number", USAGE, nothing, 2, r"--seed=x: must be", (), ("generate", "--prompt=a", "--seed=x")),
    ("no steps to verify", USAGE, nothing, 2, r"--steps=0.*at least 1", (), ("verify", "--steps=0")),
    (
        "more steps to verify than the run has",
        USAGE,
        nothing,
        2,
        r"--steps=4 is more than the run has, 3",
        (),
        ("verify", "--steps=4"),
    ),
    (
        "a reference of more ranks than there are",
        USAGE,
        nothing,
        2,
        r"--reference=tp=2,pp=2.*more than the 2",
        (),
        ("verify", "--reference=tp=2,pp=2"),
    ),
    (
        "a layout to verify that the ranks do not fit",
        USAGE,
        nothing,
        3,
        r"parallel.*mpirun -np",
        (),
        ("verify",),
    ),
    ("the rows of a step have no target", BAD_FILE, first_step_masked, 2, r"step 1: none of its"),
]


def prepare(scratch):
    """A fresh folder with a run of three steps that works."""
    folder = Path(scratch) / "case"
    shutil.rmtree(folder, ignore_errors=True)
    tiny_models.write_case("llama_grouped", folder)
    config = harness.run_config(folder, harness.load_golden(), "lora", 3, parallel={"tensor": 2})
    return folder, config


def works(binary, scratch):
    folder, config = prepare(scratch)
    rows = harness.train(binary, folder, 2, config)
    if len(rows) != 3:
        raise harness.Failure(f"{len(rows)} steps, 3 expected")
    return "3 steps"


def fails_clearly(binary, scratch, code, spoil, ranks, must_say, wrapper=(), command=("train",)):
    folder, config = prepare(scratch)
    if ranks == 1 or ranks % 2 == 0:
        config["parallel"]["tensor"] = 2
    spoil(folder, config)
    start = time.monotonic()
    done = harness.mpirun(
        binary,
        ranks,
        [*command, f"--config={harness.write_config(folder, config)}"],
        LIMIT_SECONDS,
        wrapper,
    )
    seconds = time.monotonic() - start
    own_lines = [line for line in MPIRUN_NOISE.sub("", done.stderr).splitlines() if line.strip()]
    if done.returncode != code:
        raise harness.Failure(f"mpirun ended with {done.returncode}, {code} expected: {own_lines[:1]}")
    if len(own_lines) != 1:
        raise harness.Failure(
            f"{len(own_lines)} lines on stderr, 1 expected: " + " | ".join(own_lines[:5])
        )
    if not re.search(must_say, own_lines[0]):
        raise harness.Failure(f"'{own_lines[0]}' does not say /{must_say}/")
    return f"exit {done.returncode} after {seconds:.1f} s: {own_lines[0]}"


def main():
    binary = Path(sys.argv[1])
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    with harness.scratch_folder() as scratch:
        checks = [("nothing is wrong", lambda: works(binary, scratch))]
        for name, *case in CASES:
            if wanted in name:
                checks.append((name, lambda c=case: fails_clearly(binary, scratch, *c)))
        harness.run_checks(checks)


if __name__ == "__main__":
    main()
