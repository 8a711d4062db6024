"""Strings through encode_strings and through the library that a tokenizer file belongs to."""

import base64
import json
import struct
import subprocess
from pathlib import Path


def oracle(kind, path):
    """strings -> lists of ids, by the library alone."""
    if kind == "tokenizers":
        import tokenizers

        tokenizer = tokenizers.Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return lambda strings: [e.ids for e in tokenizer.encode_batch(strings, add_special_tokens=False)]
    if kind == "transformers":
        tokenizer = folder_tokenizer(path)._tokenizer
        return lambda strings: [e.ids for e in tokenizer.encode_batch(strings, add_special_tokens=False)]
    if kind == "sentencepiece":
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        return lambda strings: [processor.encode(s) for s in strings]
    if kind == "tiktoken":  # what mistral-common's Tekkenizer calls
        import tiktoken

        file = json.loads(Path(path).read_text(encoding="utf-8"))
        specials = file["config"]["default_num_special_tokens"]
        size = file["config"]["default_vocab_size"] - specials
        ranks = {base64.b64decode(t["token_bytes"]): t["rank"] for t in file["vocab"][:size]}
        encoding = tiktoken.Encoding("t", pat_str=file["config"]["pattern"], mergeable_ranks=ranks, special_tokens={})
        return lambda strings: [[i + specials for i in encoding.encode_ordinary(s)] for s in strings]
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    tekken = Tekkenizer.from_file(path)
    return lambda strings: [tekken.encode(s, bos=False, eos=False) for s in strings]


def folder_tokenizer(path):
    """The folder of a tokenizer.json with all its files, by transformers' class for any of them."""
    import transformers

    return transformers.PreTrainedTokenizerFast.from_pretrained(Path(path).parent)


def added_tokens(kind, path):
    """What to throw into the strings; only `tokenizers` finds tokens in a text."""
    if kind == "transformers":
        return list(folder_tokenizer(path).added_tokens_encoder)
    if kind != "tokenizers":
        return []
    tokens = [t["content"] for t in json.loads(Path(path).read_text(encoding="utf-8"))["added_tokens"]]
    return tokens[:12] + tokens[-12:]


def spelt_tokens(kind, path):
    """Tokens that fttrain finds in a text and the library does not: strings with them are left out."""
    if kind == "sentencepiece":
        import sentencepiece

        p = sentencepiece.SentencePieceProcessor(model_file=str(path))
        return [p.id_to_piece(i) for i in range(p.get_piece_size()) if p.is_control(i)]
    return ["[", "<s>", "</s>", "<unk>", "<pad>"] if kind in ("mistral_common", "tiktoken") else []


def ours(binary, folder, strings, scratch, threads=1):
    """Lists of ids, or an error's text in place of one."""
    given, got = Path(scratch) / "strings", Path(scratch) / "ids"
    with open(given, "wb") as out:
        for s in strings:
            data = s.encode("utf-8")
            out.write(struct.pack("<I", len(data)) + data)
    run = subprocess.run([binary, folder, given, got, str(threads)], capture_output=True, text=True)
    if run.returncode != 0:
        return run.stderr.strip()
    data, at, rows = got.read_bytes(), 0, []
    while at < len(data):
        count = struct.unpack_from("<I", data, at)[0]
        at += 4
        if count == 0xFFFFFFFF:
            size = struct.unpack_from("<I", data, at)[0]
            rows.append(data[at + 4 : at + 4 + size].decode())
            at += 4 + size
        else:
            rows.append(list(struct.unpack_from(f"<{count}i", data, at)))
            at += 4 * count
    return rows


def compare(binary, case, texts, scratch, show=5):
    """(strings compared, differences), differences as (string, wanted, got); an error's text if the folder is refused."""
    folder, kind, path = case
    strings = texts(added_tokens(kind, path))
    hidden = spelt_tokens(kind, path)
    if hidden:
        strings = [s for s in strings if not any(token in s for token in hidden)]
    got = ours(binary, folder, strings, scratch)
    if isinstance(got, str):
        return got
    want = oracle(kind, path)(strings)
    assert len(got) == len(want) == len(strings), (len(got), len(want), len(strings))
    return len(strings), [(s, w, g) for s, w, g in zip(strings, want, got) if w != g]
