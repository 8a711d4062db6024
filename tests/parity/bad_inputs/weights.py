"""The model's weights: the index and the safetensors files."""

import json
import struct

import tiny_models

from .case import (
    BAD_FILE,
    MISSING,
    Case,
    lfs_pointer,
    model_config,
    read_header,
    remove,
    write_header,
)

INDEX = "model/model.safetensors.index.json"
SHARDS = [f"model/model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]


def shard_outside_the_folder(name):
    def spoil(folder, config):
        content = json.loads((folder / INDEX).read_text())
        content["weight_map"]["model.norm.weight"] = name
        tiny_models.write_json(folder / INDEX, content)

    return spoil


INDEX_JSON = [
    Case("a shard is missing", MISSING, remove(SHARDS[1]), r"model-00002-of-00003\.safetensors"),
    Case(
        "the index names a file outside the folder",
        BAD_FILE,
        shard_outside_the_folder("../stolen.safetensors"),
        r"\.\./stolen\.safetensors",
    ),
    Case(
        "a shard is a Git LFS pointer",
        BAD_FILE,
        lfs_pointer("model-00002-of-00003.safetensors"),
        r"model-00002-of-00003\.safetensors is a Git LFS pointer.*git lfs pull",
    ),
]


def truncated_shard(folder, config):
    path = folder / SHARDS[0]
    path.write_bytes(path.read_bytes()[:-1000])


def header_of(change, shard=SHARDS[0], behind=b""):
    """The header with a change, which may be one of bytes."""

    def spoil(folder, config):
        header, rest = read_header(folder / shard)
        changed = change(header)
        write_header(folder / shard, header if changed is None else changed, rest + behind)

    return spoil


def header_longer_than_file(folder, config):
    path = folder / SHARDS[0]
    path.write_bytes(struct.pack("<Q", 1 << 62) + path.read_bytes()[8:])


def overlap(header):
    same_shape = [
        n
        for n in header
        if n.endswith("input_layernorm.weight") or n.endswith("attention_layernorm.weight")
    ]
    header[same_shape[1]]["data_offsets"] = header[same_shape[0]]["data_offsets"]


SAFETENSORS = [
    Case(
        "a shard is truncated", BAD_FILE, truncated_shard, r"model-00001-of-00003\.safetensors"
    ),
    Case(
        "a header is longer than its file",
        BAD_FILE,
        header_longer_than_file,
        r"model-00001-of-00003\.safetensors.*header",
    ),
    Case(
        "two tensors share bytes",
        BAD_FILE,
        header_of(overlap),
        r"model-00001-of-00003\.safetensors.*layernorm",
    ),
    Case(
        "a tied model's file has another head",
        BAD_FILE,
        model_config(tie_word_embeddings=True),
        r"lm_head\.weight.*differs from.*tie_word_embeddings.*false",
    ),
]


CASES = INDEX_JSON + SAFETENSORS
