"""Small tokenizers, trained here or taken from tests/golden, as folders, each with its oracle."""

import base64
import json
import shutil
from pathlib import Path

from real import TEKKEN, byte_characters, deepseek_llm_steps

GOLDEN = Path(__file__).parents[3] / "golden/data"
HUGGING_FACE = ["gpt2", "smollm2", "llama3", "qwen2", "deepseek", "flags", "gemma", "llama2", "metaspace"]

# Options of sentencepiece's trainer that change what encoding does.
SENTENCEPIECE = {
    "spm-bpe": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity",
                "remove_extra_whitespaces": False, "user_defined_symbols": ["<tool>", "\n\n", "ing"]},
    "spm-bpe-unknown": {"model_type": "bpe", "control_symbols": ["[INST]"], "user_defined_symbols": ["th", " a"]},
    "spm-bpe-bare": {"model_type": "bpe", "byte_fallback": True, "add_dummy_prefix": False,
                     "allow_whitespace_only_pieces": True, "remove_extra_whitespaces": False},
    "spm-bpe-across": {"model_type": "bpe", "byte_fallback": True, "split_by_whitespace": False},
    "spm-unigram": {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc"},
    "spm-unigram-cf": {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc_cf",
                       "user_defined_symbols": ["<tool>", "the "]},
    "spm-unigram-bytes": {"model_type": "unigram", "byte_fallback": True, "normalization_rule_name": "nfkc",
                          "remove_extra_whitespaces": False, "user_defined_symbols": ["\n"]},
    "spm-unigram-across": {"model_type": "unigram", "split_by_whitespace": False, "bos_id": -1},
}


def corpus():
    texts = json.loads((GOLDEN / "texts.json").read_text(encoding="utf-8"))
    sources = [Path(f).read_text(encoding="utf-8") for f in sorted(Path(__file__).parent.glob("*.py"))]
    lines = [line for text in texts + sources for line in text.splitlines() if line.strip()]
    return [line for line in lines if "<" not in line] * 3


def sentencepiece_model(target, options):
    import sentencepiece

    with open(target, "wb") as out:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus()), model_writer=out, vocab_size=900, hard_vocab_limit=False,
            character_coverage=0.98, minloglevel=2, num_threads=1, **options)


def unigram_json(target):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", "\u2581")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=600, unk_token="<unk>", special_tokens=["<unk>"],
                                      show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    spec = json.loads(tokenizer.to_str())
    # Scores whose sums are exact: the trainer's differ from run to run, and of two ways through a long text that are
    # as good as each other the last bit of a decimal number, which parsers read differently, would choose one.
    for entry in spec["model"]["vocab"]:
        entry[1] = round(entry[1] * 1024) / 1024
    target.write_text(json.dumps(spec), encoding="utf-8")
    # The same with a token for each byte.
    spec["model"]["byte_fallback"] = True
    spec["model"]["vocab"] += [[f"<0x{b:02X}>", 0.0] for b in range(256)]
    return spec


def tekken_json(target):
    spec = json.loads((GOLDEN / "gpt2.tokenizer.json").read_text(encoding="utf-8"))
    byte_of = {c: b for b, c in byte_characters().items()}
    words = sorted(spec["model"]["vocab"].items(), key=lambda item: item[1])
    tokens = [bytes([b]) for b in range(256)]
    for word, _ in words:
        token = bytes(byte_of.get(c, 0) for c in word)
        if all(c in byte_of for c in word) and token not in tokens:
            tokens.append(token)
    vocab = [{"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": None} for i, t in enumerate(tokens)]
    config = {"pattern": TEKKEN, "num_vocab_tokens": len(vocab), "default_vocab_size": len(vocab) + 40 - 7,
              "default_num_special_tokens": 40, "version": "v3"}
    target.write_text(json.dumps({"config": config, "vocab": vocab}), encoding="utf-8")


def token(content, **flags):
    return {"content": content, "special": True, "normalized": False, "lstrip": False, "rstrip": False,
            "single_word": False} | flags


# Files beside a tokenizer.json that add to its tokens, contradict it and one another.
CONFIGS = {
    "config-decoder": ("flags", {
        "tokenizer_config.json": {
            "added_tokens_decoder": {
                "900": token("<late>"), "430": token("<tool>", normalized=True, special=False), "0": token("<|pad|>"),
                "420": token("[left]", rstrip=True), "17": token("er", special=False)},
            "eos_token": "</s>", "pad_token": "<|pad|>", "bos_token": None, "unk_token": "the",
            "mask_token": {"__type": "AddedToken", **token("<mask>", lstrip=True)},
            "image_token": "<image>", "audio_token": {"__type": "AddedToken", **token("<audio>")},
            "extra_special_tokens": ["<tool>", "<extra>", " \u00e9", "in"], "additional_special_tokens": ["<unread>"]},
        "special_tokens_map.json": {"eos_token": "<other>", "sep_token": "<sep>"},
        "added_tokens.json": {"<left over>": 5}}),
    "config-map": ("smollm2", {
        "tokenizer_config.json": {
            "eos_token": "<e>", "pad_token": "<p>", "additional_special_tokens": ["<x>", "<|im_end|>"]},
        "special_tokens_map.json": {
            "eos_token": "</s>", "cls_token": token("<cls>", rstrip=True), "additional_special_tokens": ["<unread>"]},
        "added_tokens.json": {"<q>": 777, "<|im_start|>": 600, "</s>": 500, "<unread too>": 2, "the": 90}}),
    "config-extra": ("llama2", {
        "tokenizer_config.json": {"extra_special_tokens": {"b_token": "<b>", "c_token": "heron"}, "unk_token": "<unk>"},
        "special_tokens_map.json": {"additional_special_tokens": ["<y>", "</s>"], "bos_token": "<bos>"}}),
}


def make(out):
    """Writes the folders; name -> (folder, oracle, file)."""
    cases = {}

    def place(name, file, kind):
        (out / name).mkdir(parents=True, exist_ok=True)
        cases[name] = (out / name, kind, out / name / file)
        return out / name / file

    for name in HUGGING_FACE:
        shutil.copyfile(GOLDEN / f"{name}.tokenizer.json", place(name, "tokenizer.json", "tokenizers"))
    # A text that is a token as a whole is that token; the pre-tokenizers of DeepSeek LLM, Coder and V2.
    spec = json.loads((GOLDEN / "llama2.tokenizer.json").read_text(encoding="utf-8"))
    spec["model"]["ignore_merges"] = True
    place("llama2-whole", "tokenizer.json", "tokenizers").write_text(json.dumps(spec), encoding="utf-8")
    spec = json.loads((GOLDEN / "deepseek.tokenizer.json").read_text(encoding="utf-8"))
    spec["pre_tokenizer"] = deepseek_llm_steps()
    place("deepseek-llm", "tokenizer.json", "tokenizers").write_text(json.dumps(spec), encoding="utf-8")
    # Added tokens whose ids leave gaps, contradict the vocabulary or come out of order.
    spec = json.loads((GOLDEN / "flags.tokenizer.json").read_text(encoding="utf-8"))
    for i, token in enumerate(spec["added_tokens"]):
        token["id"] = 9000 - 7 * i
    spec["added_tokens"] += [{**spec["added_tokens"][0], "id": 512, "content": c} for c in ("<pad>", "the", "<tool>")]
    spec["added_tokens"].append({**spec["added_tokens"][1], "id": 3})
    place("added-gaps", "tokenizer.json", "tokenizers").write_text(json.dumps(spec), encoding="utf-8")
    for name, (golden, files) in CONFIGS.items():
        shutil.copyfile(GOLDEN / f"{golden}.tokenizer.json", place(name, "tokenizer.json", "transformers"))
        for file, content in files.items():
            (out / name / file).write_text(json.dumps(content), encoding="utf-8")
    for name, options in SENTENCEPIECE.items():
        sentencepiece_model(place(name, "tokenizer.model", "sentencepiece"), options)
    with_bytes = unigram_json(place("unigram", "tokenizer.json", "tokenizers"))
    place("unigram-bytes", "tokenizer.json", "tokenizers").write_text(json.dumps(with_bytes), encoding="utf-8")
    tekken_json(place("tekken", "tekken.json", "tiktoken"))
    return cases
