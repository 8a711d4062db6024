"""The PEFT adapter that a run starts from."""

import os
import shutil
import struct

from .case import (
    BAD_FILE,
    MISSING,
    NOT_FINITE,
    USAGE,
    Case,
    edit_json,
    in_turn,
    keys,
    read_header,
    remove,
    replaced,
    write,
    write_header,
)

CONFIG, TENSORS = "adapter_init/adapter_config.json", "adapter_init/adapter_model.safetensors"
A0 = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def saved(**values):
    return lambda folder, config: edit_json(folder / CONFIG, **values)


def header_of(change):
    def spoil(folder, config):
        header, rest = read_header(folder / TENSORS)
        changed = change(header)
        write_header(folder / TENSORS, header if changed is None else changed, rest)

    return spoil


def of_another_base(header):
    """As wide as another model's layers: twice the columns, half the rows."""
    header[A0]["shape"] = [2, 128]


def without(name):
    """The tensor is called otherwise, so that no hole is left."""

    def change(header):
        header["base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"] = header.pop(name)

    return change


def lacks_one(folder, config):
    """Without the last tensor of the file and its bytes."""
    header, rest = read_header(folder / TENSORS)
    last = max(
        (name for name in header if name != "__metadata__"),
        key=lambda name: header[name]["data_offsets"][1],
    )
    begin, _ = header.pop(last)["data_offsets"]
    write_header(folder / TENSORS, header, rest[:begin])


def pickled(folder, config):
    os.rename(folder / TENSORS, folder / "adapter_init" / "adapter_model.bin")


def no_number(folder, config):
    header, rest = read_header(folder / TENSORS)
    begin = header[A0]["data_offsets"][0]
    rest = rest[:begin] + struct.pack("<f", float("inf")) + rest[begin + 4 :]
    write_header(folder / TENSORS, header, rest)


AT = r"adapter_config\.json: "

CASES = [
    Case(
        "the adapter to start from has another rank",
        BAD_FILE,
        keys("adapter", r=9),
        r"\b9\b.*\b4\b|\b4\b.*\b9\b",
    ),
    Case(
        "the adapter has another scale",
        BAD_FILE,
        keys("adapter", alpha=16),
        AT + r"lora_alpha 8 there, 16 in this run",
    ),
    Case(
        "the adapter is on other modules",
        BAD_FILE,
        keys("adapter", target_modules=["q_proj", "v_proj"]),
        AT + r"target_modules \[.*\] there, \[q_proj, v_proj\] in this run \(it is on .*asks for",
    ),
    Case(
        "the adapter's folder is missing",
        MISSING,
        lambda folder, config: shutil.rmtree(folder / "adapter_init"),
        r"adapter\.init_from .*/adapter_init: no such folder; adapters are not downloaded",
    ),
    Case(
        "the adapter is a file",
        USAGE,
        lambda folder, config: config["adapter"].update(init_from=str(folder / TENSORS)),
        r"adapter\.init_from .*adapter_model\.safetensors is a file: give the folder with",
    ),
    Case("the adapter has no config", MISSING, remove(CONFIG), r"adapter_config\.json: No such"),
    Case(
        "the adapter has no tensors",
        MISSING,
        remove(TENSORS),
        r"adapter_model\.safetensors: No such",
    ),
    Case(
        "the adapter is pickled",
        MISSING,
        pickled,
        r"adapter_model\.safetensors is not there, and adapter_model\.bin is not supported: save",
    ),
    Case("the adapter's config is empty", BAD_FILE, write(CONFIG, ""), AT + r".*line 1, column 1"),
    Case(
        "the adapter's config has a key twice",
        BAD_FILE,
        replaced(CONFIG, b'"r": 4', b'"r": 4, "r": 8'),
        AT + r"key 'r' appears twice",
    ),
    Case(
        "the adapter is no LoRA",
        BAD_FILE,
        saved(peft_type="IA3"),
        AT + r"'peft_type' is 'IA3', only LORA is supported",
    ),
    Case(
        "the adapter is a DoRA",
        BAD_FILE,
        saved(use_dora=True),
        AT + r"'use_dora' is true: only plain LoRA adapters are supported",
    ),
    Case(
        "the adapter has modules of its own",
        BAD_FILE,
        saved(modules_to_save=["lm_head"]),
        AT + r"'modules_to_save' is \[\"lm_head\"\]: only plain LoRA",
    ),
    Case(
        "the adapter has a key that nobody knows",
        BAD_FILE,
        saved(use_qrs=3),
        AT + r"'use_qrs' is 3: what this key does to the adapter is not known here; remove it",
    ),
    Case(
        "the adapter changes its base",
        BAD_FILE,
        saved(init_lora_weights="pissa"),
        AT + r"'init_lora_weights' is \"pissa\": it changes the base model",
    ),
    Case(
        "the adapter's rank is text",
        BAD_FILE,
        saved(r="4"),
        AT + r"'r' must be an integer",
    ),
    Case(
        "the adapter's scale is negative",
        BAD_FILE,
        saved(lora_alpha=-8),
        AT + r"'lora_alpha' is -8, must be a positive number",
    ),
    Case(
        "the adapter names no modules",
        BAD_FILE,
        saved(target_modules=[]),
        AT + r"'target_modules' names no modules",
    ),
    Case(
        "the adapter is of another family",
        BAD_FILE,
        saved(target_modules=["c_attn"]),
        AT + r"target_modules \[c_attn\] means no linear module of .*choose from q_proj",
    ),
    Case(
        "the adapter's config names fewer modules than its file",
        BAD_FILE,
        in_turn(saved(target_modules=["q_proj"]), keys("adapter", target_modules=["q_proj"])),
        r"adapter_model\.safetensors: adapts .*, but target_modules \[q_proj\] .*means q_proj of",
    ),
    Case(
        "the adapter is of a base of another size",
        BAD_FILE,
        header_of(of_another_base),
        r"adapter_model\.safetensors: tensors do not fit: 1 of wrong shape or dtype: "
        r"\S+q_proj\.lora_A\.weight \[2, 128\] for \[4, 64\]",
    ),
    Case(
        "the adapter is of integers",
        BAD_FILE,
        header_of(lambda header: header[A0].update(dtype="I32")),
        r"adapter_model\.safetensors: .*1 of wrong shape or dtype: \S+q_proj\.lora_A\.weight I32",
    ),
    Case(
        "the adapter lacks a tensor",
        BAD_FILE,
        lacks_one,
        r"adapter_model\.safetensors: tensors do not fit: "
        r"1 missing: \S+layers\.2\S+lora_B\.weight$",
    ),
    Case(
        "the adapter is of a base of more layers",
        BAD_FILE,
        header_of(without(A0)),
        r"adapter_model\.safetensors: adapts q_proj of layers 0-2, 7; .* means .* 3 layers$",
    ),
    Case(
        "the adapter's header is garbage",
        BAD_FILE,
        header_of(lambda header: b"{\xff" * 20),
        r"adapter_model\.safetensors: .*line 1, column \d+",
    ),
    Case(
        "the adapter is cut off",
        BAD_FILE,
        lambda folder, config: os.truncate(folder / TENSORS, 20_000),
        r"adapter_model\.safetensors: tensor '.* past the file's \d+ data bytes \(truncated\?\)",
    ),
    Case(
        "the adapter is empty",
        BAD_FILE,
        write(TENSORS, ""),
        r"adapter_model\.safetensors: 0 bytes are too few",
    ),
    Case(
        "the adapter is no number",
        NOT_FINITE,
        in_turn(no_number, keys("train", max_skipped_steps=0)),
        r"step 1: .*not finite",
    ),
]
