"""Checkpoints to go on from. The run they spoil was saved after each of two steps of three."""

import hashlib
import json
import os
import shutil
import struct

import harness

from .case import BAD_FILE, CANNOT_CREATE, MISSING, USAGE, Case, in_turn, read_header, write_header

CHECKPOINTS = "out/checkpoints"
STEPS = ("step-1", "step-2")
SAVING = {"save_steps": 1, "resume": "auto"}


def save(binary, folder, config):
    """Trains, and leaves what a run does that was killed in its third step."""
    config["train"].update(SAVING)
    harness.train(binary, folder, 2, config)
    shutil.rmtree(folder / CHECKPOINTS / "step-3")
    shutil.rmtree(folder / "out" / "adapter")
    (folder / "out" / "run_status.json").unlink()


def goes_on(folder, config):
    config["train"].update(SAVING)


def path_of(folder, file="", step="step-2"):
    return folder / CHECKPOINTS / step / file


def resume(path):
    """Goes on from a folder below the run's."""

    def spoil(folder, config):
        goes_on(folder, config)
        config["train"]["resume"] = str(folder / path)

    return spoil


def damaged(*spoils):
    """What is done to the newest checkpoint, which the run is to go on from."""
    return in_turn(resume(f"{CHECKPOINTS}/step-2"), *spoils)


def all_damaged(spoil):
    """The same is done to each checkpoint, and the run looks for one itself."""

    def spoil_all(folder, config):
        goes_on(folder, config)
        for step in STEPS:
            spoil(folder, config, step)

    return spoil_all


def removed(file):
    return lambda folder, config, step="step-2": path_of(folder, file, step).unlink()


def shrunk(file, by=1):
    def spoil(folder, config, step="step-2"):
        path = path_of(folder, file, step)
        os.truncate(path, path.stat().st_size - by)

    return spoil


def flipped(file):
    """One bit in the middle."""

    def spoil(folder, config, step="step-2"):
        path = path_of(folder, file, step)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return spoil


def manifest(change):
    """A manifest that says something else, committed as it is."""

    def spoil(folder, config, step="step-2"):
        path = path_of(folder, "manifest.json", step)
        content = json.loads(path.read_text())
        change(content)
        text = json.dumps(content) + "\n"
        path.write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        path_of(folder, "COMMIT", step).write_text(f"{digest}  manifest.json\n")

    return spoil


def linked(folder, config):
    path = path_of(folder, SHARD)
    os.rename(path, folder / "elsewhere")
    os.symlink(folder / "elsewhere", path)


def copied(to):
    def spoil(folder, config):
        shutil.copytree(path_of(folder), folder / to)

    return spoil


def empty_folder(folder, config):
    (folder / "copies" / "step-2").mkdir(parents=True)


def file_in_its_place(folder, config):
    shutil.rmtree(path_of(folder))
    path_of(folder).write_text("")


def checkpoints_are_a_link(folder, config):
    os.rename(folder / CHECKPOINTS, folder / "elsewhere")
    os.symlink(folder / "elsewhere", folder / CHECKPOINTS)


def changed(section, **values):
    def spoil(folder, config):
        goes_on(folder, config)
        config[section].update(values)

    return spoil


def changed_row(folder, config):
    goes_on(folder, config)
    lines = (folder / "rows.jsonl").read_text().splitlines()
    lines[-1] = json.dumps({"input_ids": [5, 6, 7]})
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")


def another_file(folder, config):
    goes_on(folder, config)
    shutil.copy(folder / "rows.jsonl", folder / "more.jsonl")
    more = {"path": str(folder / "more.jsonl"), "format": "tokens"}
    config["data"]["train"].append(more)


def changed_model(folder, config):
    goes_on(folder, config)
    path = folder / "model" / "model-00003-of-00003.safetensors"
    header, rest = read_header(path)
    write_header(path, header, rest[:-4] + struct.pack("<f", 0.125))


def tensor(**values):
    return manifest(lambda content: content["tensors"][0].update(values))


SHARD = "shard-r0000.safetensors"
IN_STEP_2 = r"checkpoints/step-2/"

RESUME = [
    Case(
        "the checkpoint to go on from is missing",
        MISSING,
        resume(f"{CHECKPOINTS}/step-9"),
        r"'train\.resume' .*checkpoints/step-9: no such folder.*auto",
    ),
    Case(
        "the folder to go on from is none of checkpoints",
        USAGE,
        resume("model"),
        r"'train\.resume' .*/model: a checkpoint's folder is named step-N, .*auto and never",
    ),
    Case(
        "the word for going on is misspelt",
        USAGE,
        changed("train", resume="atuo"),
        r"'train\.resume' atuo: a checkpoint's folder is named step-N, .*auto and never",
    ),
    Case(
        "the checkpoint to go on from is empty",
        BAD_FILE,
        in_turn(resume("copies/step-2"), empty_folder),
        r"copies/step-2/COMMIT: .*No such file",
    ),
    Case(
        "the checkpoint to go on from is a file",
        BAD_FILE,
        damaged(file_in_its_place),
        r"checkpoints/step-2: not a folder",
    ),
    Case(
        "the checkpoint to go on from has another step's name",
        BAD_FILE,
        in_turn(resume("copies/step-7"), copied("copies/step-7")),
        r"copies/step-7/manifest\.json: step: it is of step 2, not 7",
    ),
    Case(
        "there is a newer checkpoint",
        USAGE,
        resume(f"{CHECKPOINTS}/step-1"),
        r"'train\.resume' .*/step-1: output_dir has newer checkpoints \(.*/step-2\)",
    ),
    Case(
        "the folder of checkpoints is a link",
        CANNOT_CREATE,
        in_turn(goes_on, checkpoints_are_a_link),
        r"out/checkpoints: a symbolic link; move it away, checkpoints are kept in a folder of",
    ),
]

DAMAGE = [
    Case(
        "a bit of the manifest is another",
        BAD_FILE,
        damaged(flipped("manifest.json")),
        IN_STEP_2 + r"COMMIT: is not the hash of manifest\.json, one of the two is damaged",
    ),
    Case(
        "the manifest is cut off",
        BAD_FILE,
        damaged(shrunk("manifest.json", 100)),
        IN_STEP_2 + r"COMMIT: is not the hash of manifest\.json",
    ),
    Case(
        "the manifest is missing",
        BAD_FILE,
        damaged(removed("manifest.json")),
        IN_STEP_2 + r"manifest\.json: .*No such file",
    ),
    Case(
        "the commit is missing",
        BAD_FILE,
        damaged(removed("COMMIT")),
        IN_STEP_2 + r"COMMIT: .*No such file",
    ),
    Case(
        "the commit is cut off",
        BAD_FILE,
        damaged(shrunk("COMMIT", 20)),
        IN_STEP_2 + r"COMMIT: is not the hash",
    ),
    Case(
        "a saved file is missing",
        BAD_FILE,
        damaged(removed(SHARD)),
        IN_STEP_2 + r"shard-r0000\.safetensors: .*No such file",
    ),
    Case(
        "a saved file is cut off",
        BAD_FILE,
        damaged(shrunk(SHARD)),
        IN_STEP_2 + r"shard-r0000\.safetensors: has \d+ bytes, not \d+",
    ),
    Case(
        "a bit of a saved file is another",
        BAD_FILE,
        damaged(flipped(SHARD)),
        IN_STEP_2 + r"shard-r0000\.safetensors: its bytes are not those that were written by \S+ "
        r"\(SHA-256 \w{64}, not \w{64}\)",
    ),
    Case(
        "a saved file is a link",
        BAD_FILE,
        damaged(linked),
        IN_STEP_2 + r"shard-r0000\.safetensors: a symbolic link, which no checkpoint has",
    ),
    Case(
        "a checkpoint of a newer program",
        BAD_FILE,
        damaged(manifest(lambda content: content.update(format_version=99, secrets=[]))),
        IN_STEP_2 + r"manifest\.json: format_version: the checkpoint has format 99, this program "
        r"reads format \d+; use the version of fttrain that wrote it",
    ),
    Case(
        "a manifest with a key that nobody knows",
        BAD_FILE,
        damaged(manifest(lambda content: content.update(more=1))),
        IN_STEP_2 + r"manifest\.json: key 'more' is not known",
    ),
    Case(
        "a manifest whose numbers leave their file",
        BAD_FILE,
        damaged(tensor(data_end=1 << 40)),
        IN_STEP_2 + r"manifest\.json: tensors\[0\]\.data_end: \[\d+, 1099511627776\) is not inside",
    ),
    Case(
        "a manifest that lacks a tensor",
        BAD_FILE,
        damaged(manifest(lambda content: content["tensors"].pop(0))),
        r"checkpoints/step-2: it lacks some of '\w+' of 'base_model\.model\.\S+'",
    ),
    Case(
        "a manifest without the losses so far",
        BAD_FILE,
        damaged(manifest(lambda content: content["notes"].update(loss_guard="x"))),
        IN_STEP_2 + r"manifest\.json: notes\.loss_guard cannot be read",
    ),
    Case(
        "all saved files have another bit",
        BAD_FILE,
        all_damaged(flipped(SHARD)),
        r"no checkpoint of .*/out/checkpoints can be used: .*step-2/shard-r0000.*; "
        r".*step-1/shard-r0000.*Repair it, or begin anew with train\.resume: never",
        starts=2,
    ),
    Case(
        "no checkpoint is committed",
        BAD_FILE,
        all_damaged(removed("COMMIT")),
        r"no checkpoint of .* can be used: .*step-2/COMMIT.*No such.*; .*step-1/COMMIT",
    ),
    Case(
        "all checkpoints are of a newer program",
        BAD_FILE,
        all_damaged(manifest(lambda content: content.update(format_version=99))),
        r"no checkpoint of .* can be used: .*step-2/manifest\.json: format_version: .*format 99",
    ),
]

ANOTHER_RUN = [
    Case(
        "the learning rate is another than the checkpoint's",
        USAGE,
        changed("optimizer", learning_rate=0.125),
        r"/step-2 is of another run: optimizer\.learning_rate was \S+, is 0\.125\. Undo that, "
        r"allow it with train\.allow_changed: \[optimizer\.learning_rate\]",
    ),
    Case(
        "seed and length are others than the checkpoint's",
        USAGE,
        changed("train", seed=6, max_steps=9),
        r"is of another run: train\.max_steps was 3, is 9; train\.seed was 5, is 6\. .*"
        r"allow_changed: \[train\.max_steps, train\.seed\]",
    ),
    Case(
        "only one of two changes is allowed",
        USAGE,
        changed("train", seed=6, max_steps=9, allow_changed=["train.max_steps"]),
        r"is of another run: train\.seed was 5, is 6\. Undo that, .*: \[train\.seed\]",
    ),
    Case(
        "a step has other rows than the checkpoint's",
        USAGE,
        changed("train", gradient_accumulation_steps=3),
        r"/step-2 is of a run with 4 rows a step, this one has 6 \(ranks / .*make them equal",
    ),
    Case(
        "the adapter is another than the checkpoint's",
        USAGE,
        changed("adapter", dropout=0.5),
        r"is of another run: adapter\.dropout was 0, is 0\.5\. .*\[adapter\.dropout\]",
    ),
    Case(
        "the rows are others than the checkpoint's",
        USAGE,
        changed_row,
        r"is of another run: what the rows of data\.train\[0\] become is another\. .*: \[data\]",
    ),
    Case(
        "there are more files than the checkpoint's",
        USAGE,
        another_file,
        r"is of another run: data\.train was \{format: tokens\}, is \{format: tokens\} "
        r"\{format: tokens\}; data\.train\[1\] was not there\. .*data\]",
    ),
    Case(
        "the model is another than the checkpoint's",
        USAGE,
        changed_model,
        r"is of another run: the files of model\.path are others\. .*: \[model\]",
    ),
]

CASES = RESUME + DAMAGE + ANOTHER_RUN
