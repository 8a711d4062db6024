"""The model's weights: the index and the safetensors files."""

import json
import os
import shutil
import struct

import tiny_models

from .case import (
    BAD_FILE,
    MISSING,
    NOT_FINITE,
    Case,
    in_turn,
    keys,
    lfs_pointer,
    model_config,
    read_header,
    remove,
    replaced,
    write,
    write_header,
)

INDEX = "model/model.safetensors.index.json"
SHARDS = [f"model/model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
Q0 = "model.layers.0.self_attn.q_proj.weight"


def shard_outside_the_folder(name):
    def spoil(folder, config):
        content = json.loads((folder / INDEX).read_text())
        content["weight_map"]["model.norm.weight"] = name
        tiny_models.write_json(folder / INDEX, content)

    return spoil


def same_tensors_twice(folder, config):
    shutil.copy(folder / SHARDS[0], folder / SHARDS[1])


def no_safetensors(*names):
    def spoil(folder, config):
        remove(INDEX, *SHARDS)(folder, config)
        for name in names:
            (folder / "model" / name).write_bytes(b"\x80\x02}q\x00.")

    return spoil


def shard_is(make):
    def spoil(folder, config):
        (folder / SHARDS[0]).unlink()
        make(folder / SHARDS[0])

    return spoil


INDEX_JSON = [
    Case("a shard is missing", MISSING, remove(SHARDS[1]), r"model-00002-of-00003\.safetensors"),
    Case(
        "the index is cut off",
        BAD_FILE,
        lambda folder, config: write(INDEX, (folder / INDEX).read_bytes()[:200])(folder, config),
        r"index\.json: .*line \d+, column \d+",
    ),
    Case(
        "the index has no map",
        BAD_FILE,
        write(INDEX, '{"metadata": {}}'),
        r"index\.json: weight_map: an object is needed",
    ),
    Case(
        "the index names a file outside the folder",
        BAD_FILE,
        shard_outside_the_folder("../stolen.safetensors"),
        r"\.\./stolen\.safetensors",
    ),
    Case(
        "the index names an absolute path",
        BAD_FILE,
        shard_outside_the_folder("/etc/passwd"),
        r"tensor 'model\.norm\.weight': shard '/etc/passwd' is not a plain name",
    ),
    Case(
        "the index names a number",
        BAD_FILE,
        shard_outside_the_folder(3),
        r"index\.json: tensor 'model\.norm\.weight': a string is needed",
    ),
    Case(
        "the index names another shard",
        BAD_FILE,
        shard_outside_the_folder("model-00001-of-00003.safetensors"),
        r"index\.json: 1 tensors are not in the shard it names: "
        r"model\.norm\.weight \(model-00001-of-00003\.safetensors\)",
    ),
    Case(
        "a tensor is in two shards",
        BAD_FILE,
        same_tensors_twice,
        r"tensor '\S+' is in both .*model-00001-of.* and .*model-00002-of",
    ),
    Case(
        "there are no weights",
        MISSING,
        no_safetensors(),
        r"/model: neither model\.safetensors nor model\.safetensors\.index\.json is here$",
    ),
    Case(
        "the weights are pickled",
        MISSING,
        no_safetensors("pytorch_model.bin"),
        r"/model: .*pytorch_model\.bin not supported, convert to safetensors",
    ),
    Case(
        "the weights are of llama.cpp",
        MISSING,
        no_safetensors("model-q4.gguf"),
        r"/model: .*model-q4\.gguf not supported, convert to safetensors",
    ),
    Case(
        "a shard is a Git LFS pointer",
        BAD_FILE,
        lfs_pointer("model-00002-of-00003.safetensors"),
        r"model-00002-of-00003\.safetensors is a Git LFS pointer.*git lfs pull",
    ),
    Case(
        "a shard is a pipe",
        BAD_FILE,
        shard_is(os.mkfifo),
        r"model-00001-of-00003\.safetensors: not a regular file",
    ),
    Case(
        "a shard is a folder",
        BAD_FILE,
        shard_is(os.mkdir),
        r"model-00001-of-00003\.safetensors: not a regular file",
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


def entry(**values):
    return header_of(lambda header: header[Q0].update(values))


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


def renamed(header):
    header["model.layers.0.self_attn.c_attn.weight"] = header.pop(Q0)


def twice(header):
    text = json.dumps(header)
    return (text[:-1] + f', "{Q0}": ' + json.dumps(header[Q0]) + "}").encode()


def no_number(folder, config):
    header, rest = read_header(folder / SHARDS[0])
    begin = header[Q0]["data_offsets"][0]
    rest = rest[:begin] + struct.pack("<f", float("nan")) + rest[begin + 4 :]
    write_header(folder / SHARDS[0], header, rest)


AT_Q0 = r"model-00001-of-00003\.safetensors: tensor 'model\.layers\.0\.self_attn\.q_proj\.weight'"

SAFETENSORS = [
    Case(
        "a shard is truncated", BAD_FILE, truncated_shard, r"model-00001-of-00003\.safetensors"
    ),
    Case(
        "a shard is empty",
        BAD_FILE,
        write(SHARDS[1], ""),
        r"model-00002-of-00003\.safetensors: 0 bytes are too few",
    ),
    Case(
        "a header is longer than its file",
        BAD_FILE,
        header_longer_than_file,
        r"model-00001-of-00003\.safetensors.*header",
    ),
    Case(
        "a header is no JSON",
        BAD_FILE,
        header_of(lambda header: b'{"a": nonsense}'),
        r"model-00001-of-00003\.safetensors: .*line 1, column \d+",
    ),
    Case(
        "a header is no object",
        BAD_FILE,
        header_of(lambda header: b"[]"),
        r"model-00001-of-00003\.safetensors: the header does not begin with '\{'",
    ),
    Case(
        "a header is nested deeply",
        BAD_FILE,
        header_of(lambda header: b'{"a":' * 50_000),
        r"model-00001-of-00003\.safetensors: nested deeper than 32",
    ),
    Case(
        "a header names a tensor twice",
        BAD_FILE,
        header_of(twice),
        r"model-00001-of-00003\.safetensors: key 'model\.layers\.0\.self_attn\.q_proj\.weight' app",
    ),
    Case(
        "a name has a NUL",
        BAD_FILE,
        header_of(lambda header: header.update({"a\0b": header[Q0]})),
        r"model-00001-of-00003\.safetensors: tensor 'a\\x00b': .*holds a NUL",
    ),
    Case(
        "two tensors share bytes",
        BAD_FILE,
        header_of(overlap),
        r"model-00001-of-00003\.safetensors.*layernorm",
    ),
    Case(
        "bytes behind the last tensor",
        BAD_FILE,
        header_of(lambda header: None, behind=b"\0" * 12),
        r"model-00001-of-00003\.safetensors: 12 trailing bytes after the last tensor",
    ),
    Case(
        "an offset is negative",
        BAD_FILE,
        entry(data_offsets=[-4, 16380]),
        AT_Q0 + r"\.data_offsets\[0\]: -4 is not in \[0, ",
    ),
    Case(
        "an offset has a fraction",
        BAD_FILE,
        entry(data_offsets=[0.0, 16384.0]),
        AT_Q0 + r"\.data_offsets\[0\]: an integer is needed",
    ),
    Case(
        "offsets are reversed",
        BAD_FILE,
        entry(data_offsets=[16384, 0]),
        AT_Q0 + r": F32 \[64, 64\] needs 16384 bytes, data_offsets \[16384, 0\] hold -16384",
    ),
    Case(
        "a shape overflows",
        BAD_FILE,
        entry(shape=[1 << 40, 1 << 40]),
        AT_Q0 + r": F32 \[1099511627776, 1099511627776\] exceeds 2\^63 bytes",
    ),
    Case(
        "a shape has a negative dimension",
        BAD_FILE,
        entry(shape=[-64, -64]),
        AT_Q0 + r"\.shape\[0\]: -64 is not in \[0, ",
    ),
    Case(
        "a dtype is unknown",
        BAD_FILE,
        entry(dtype="F8_E4M3"),
        AT_Q0 + r"\.dtype: 'F8_E4M3' is not supported",
    ),
    Case(
        "a weight is of integers",
        BAD_FILE,
        entry(dtype="I32"),
        r"/model: tensors do not fit: 1 of wrong shape or dtype: \S*layers\.0\S*q_proj\.weight I32",
    ),
    Case(
        "a weight is transposed",
        BAD_FILE,
        header_of(
            lambda header: header["model.layers.0.mlp.gate_proj.weight"].update(shape=[64, 112])
        ),
        r"1 of wrong shape or dtype: \S*layers\.0\.mlp\.gate_proj\.weight \[64, 112\] "
        r"for \[112, 64\]",
    ),
    Case(
        "a weight has another name",
        BAD_FILE,
        in_turn(
            header_of(renamed),
            replaced(INDEX, Q0.encode(), b"model.layers.0.self_attn.c_attn.weight"),
        ),
        r"1 missing: \S*layers\.0\S*q_proj\.weight; 1 unexpected: \S*layers\.0\S*c_attn\.weight",
    ),
    Case(
        "a tied model's file has another head",
        BAD_FILE,
        model_config(tie_word_embeddings=True),
        r"lm_head\.weight.*differs from.*tie_word_embeddings.*false",
    ),
    Case(
        "a weight is no number",
        NOT_FINITE,
        in_turn(no_number, keys("train", max_skipped_steps=0)),
        r"step 1: .*not finite",
    ),
]


CASES = INDEX_JSON + SAFETENSORS
