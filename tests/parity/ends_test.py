#!/usr/bin/env python3
"""ends_test.py BINARY: after training on conversations generation ends where they end, in every
form that a result has; and a run of an adapter says if its model cannot learn that."""

import json
import shutil
import sys
from pathlib import Path

from packages import peft, torch, transformers
import harness
import tiny_models

START, END = 256, 257  # <|im_start|>, <|im_end|> of the tiny tokenizer
NAME = "generation_config.json"
CONVERSATION = {
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
}


def expect(got, want, what):
    if got != want:
        raise harness.Failure(f"{what} is {got!r}, not {want!r}")


def expect_in(part, text, what):
    if part not in text:
        raise harness.Failure(f"{what} lacks {part!r}: {text[-600:]!r}")


def fresh(scratch, name, case="llama_grouped", generation=None):
    """A case in a folder of its own, to be trained on one conversation."""
    folder = scratch / name
    tiny_models.write_case(case, folder)
    tiny_models.write_rows(folder / "rows.jsonl", [CONVERSATION] * 4)
    if generation is not None:
        (folder / "model" / NAME).write_text(generation)
    return folder


def chat_config(folder, method, steps=2, **changes):
    config = harness.run_config(folder, harness.load_golden(), method, steps, **changes)
    config["data"]["train"][0]["format"] = "messages"
    return config


def trained(binary, folder, config, ranks=1):
    """What the run says."""
    path = harness.write_config(folder, config)
    return harness.run_or_fail(binary, ranks, ["train", f"--config={path}"]).stdout


def merged(binary, folder, *flags):
    output = folder / ("merged" + "".join(flags).replace("--", "-"))
    harness.run_or_fail(
        binary,
        1,
        [
            "merge",
            f"--model={folder / 'model'}",
            f"--adapter={folder / 'out' / 'adapter'}",
            f"--output={output}",
            *flags,
        ],
    )
    return output


def generation(folder):
    return json.loads((folder / NAME).read_text())


def others_are_the_bases(folder, model):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        expect((model / name).read_bytes(), (folder / "model" / name).read_bytes(), name)
    expect(json.loads((model / "config.json").read_text())["eos_token_id"], 2, "config.json's id")


def stops_in_transformers(model):
    """transformers' generate ends at END, which the last layer is made to say."""
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    loaded.lm_head.bias = torch.nn.Parameter(torch.zeros(loaded.config.vocab_size))
    loaded.lm_head.bias.data[END] = 1e6
    prompt = torch.tensor([[START, 10]])
    with torch.no_grad():
        ids = loaded.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=5
        )
    expect(ids[0].tolist(), [START, 10, END], "what transformers generates")


def without_a_file(binary, scratch):
    """The base has none: adapter, merged and quantised model have one of config.json's ids."""
    folder = fresh(scratch, "none")
    trained(binary, folder, chat_config(folder, "lora", parallel={"tensor": 2}), ranks=2)
    want = {"bos_token_id": 1, "eos_token_id": [2, END]}
    expect(generation(folder / "out" / "adapter"), want, "the adapter's")
    model = merged(binary, folder)
    expect(generation(model), want, "the merged model's")
    others_are_the_bases(folder, model)
    stops_in_transformers(model)
    expect(generation(merged(binary, folder, "--quantize")), want, "the merged NF4 model's")
    harness.run_or_fail(
        binary, 1, ["quantize", f"--model={model}", f"--output={folder / 'quantized'}"]
    )
    expect(generation(folder / "quantized"), want, "the quantised model's")
    base = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    peft.PeftModel.from_pretrained(base, folder / "out" / "adapter")
    return f"{want['eos_token_id']}; transformers stops there, PEFT loads the adapter"


def whole_model(binary, scratch):
    """All weights trained: every other key stays, in its order."""
    text = '{"temperature": 0.6, "do_sample": true, "eos_token_id": 2, "top_p": 0.95}'
    folder = fresh(scratch, "full", generation=text)
    said = trained(binary, folder, chat_config(folder, "full"))
    want = {**json.loads(text), "eos_token_id": [2, END]}
    model = folder / "out" / "model"
    expect(list(generation(model).items()), list(want.items()), "the model's")
    others_are_the_bases(folder, model)
    stops_in_transformers(model)
    expect("warning" in said, False, "a warning")
    return "other keys kept"


def nothing_to_change(binary, scratch):
    """The base names the id: its file, to the byte."""
    text = '{ "eos_token_id":[ 257,2 ],\n\n\t"top_k": 20 }'
    folder = fresh(scratch, "equal", "llama_tied", generation=text)
    trained(binary, folder, chat_config(folder, "lora"))
    for model in (folder / "out" / "adapter", merged(binary, folder)):
        expect((model / NAME).read_text(), text, f"{model.name}'s")
    trained(binary, folder, chat_config(folder, "full"))
    expect((folder / "out" / "model" / NAME).read_text(), text, "the model's")
    return "adapter, merged and full are the base's"


def other_data(binary, scratch):
    """Rows of ready-made tokens teach no end that is known: the base's files, and what an adapter
    was taught before."""
    text = '{"eos_token_id": 2}'
    folder = fresh(scratch, "tokens", generation=text)
    tiny_models.write_rows(folder / "rows.jsonl", tiny_models.token_rows("llama_grouped"))
    config = harness.run_config(folder, harness.load_golden(), "lora", 2)
    trained(binary, folder, config)
    expect((folder / "out" / "adapter" / NAME).exists(), False, "a file beside the adapter")
    expect((merged(binary, folder) / NAME).read_text(), text, "the merged model's")
    start = folder / "adapter_init"
    (start / NAME).write_text(f'{{"eos_token_id": {END}}}')
    trained(binary, folder, config)
    expect(generation(folder / "out" / "adapter"), {"eos_token_id": [2, END]}, "the continued one's")
    return "no file beside the adapter"


def generate_stops(binary, scratch):
    """`generate --raw`, which has no template, ends at the adapter's id and at the merged
    model's."""
    folder = fresh(scratch, "generate")
    path = folder / "model" / "tokenizer_config.json"
    content = json.loads(path.read_text())
    del content["eos_token"]
    tiny_models.write_json(path, content)
    optimizer = {"learning_rate": 0.02, "weight_decay": 0.0}
    config = chat_config(folder, "lora", 60, optimizer=optimizer)
    trained(binary, folder, config)
    prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    adapter = f"--adapter={folder / 'out' / 'adapter'}"
    for where in (
        [f"--model={folder / 'model'}", adapter],
        [f"--model={merged(binary, folder)}"],
    ):
        arguments = ["generate", *where, "--raw", f"--prompt={prompt}", "--max_new_tokens=12"]
        arguments += ["--set", "precision.compute=fp32", "--set", "device=cpu"]
        said = harness.run_or_fail(binary, 1, arguments).stdout
        expect(said, "Yo\n", "the answer")
    return "after 'Yo'"


def set_head_row(model, row, values):
    """`values`: another row's number, or a number for all elements. Rewrites the shard."""
    files = sorted(model.glob("*.safetensors"))
    for file in files:
        data = bytearray(file.read_bytes())
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        entry = header.get("lm_head.weight") or (
            header.get("model.embed_tokens.weight") if len(files) == 1 else None
        )
        if entry is None:
            continue
        base = 8 + size + entry["data_offsets"][0]
        length = (entry["data_offsets"][1] - entry["data_offsets"][0]) // entry["shape"][0]
        source = bytes(length) if values == "zero" else data[base + values * length :][:length]
        data[base + row * length : base + (row + 1) * length] = source
        file.write_bytes(data)
        return
    raise harness.Failure("no head")


def untrained_rows(binary, scratch):
    """The warning, for rows in each place and form."""
    equals = "warning    <|im_end|>'s row of the output head equals that of "
    cases = [
        ("llama_grouped", START, equals + "<|im_start|>: it was never trained", 1),
        ("qwen2", 300, equals + "id 300, which is no token's: it was never trained", 2),
        ("llama_tied", 65, equals + "A: it was never trained", 2),
        ("llama_grouped", "zero", "<|im_end|>'s row of the output head is all zeros: it was", 1),
    ]
    for k, (case, values, warning, ranks) in enumerate(cases):
        folder = fresh(scratch, f"untrained{k}", case)
        config = chat_config(folder, "lora", parallel={"tensor": ranks})
        if k == 0:
            said = trained(binary, folder, config, ranks)
            expect("warning" in said, False, f"a warning of {case} as it is")
        set_head_row(folder / "model", END, values)
        said = trained(binary, folder, config, ranks)
        expect_in(warning, said, "what the run says")
        expect_in("the model cannot learn to stop there; train an instruct", said, "the warning")
        expect(said.count("warning"), 1, "the number of warnings")
    said = trained(binary, folder, chat_config(folder, "full"))
    expect("warning" in said, False, "a warning where all weights are trained")
    config = chat_config(folder, "qlora")
    expect(trained(binary, folder, config).count("warning"), 1, "warnings of qlora")
    quantized = folder / "quantized"
    harness.run_or_fail(
        binary, 1, ["quantize", f"--model={folder / 'model'}", f"--output={quantized}"]
    )
    shutil.rmtree(folder / "model")
    quantized.rename(folder / "model")
    expect(trained(binary, folder, config).count("warning"), 1, "warnings of an NF4 folder")
    return f"{len(cases) + 2} models"


def bad_base_file(binary, scratch):
    """Told before a step is trained, not when the result is written."""
    folder = fresh(scratch, "bad", generation='{"eos_token_id": "</s>"}')
    path = harness.write_config(folder, chat_config(folder, "lora"))
    done = harness.mpirun(binary, 1, ["train", f"--config={path}"], 120)
    expect(done.returncode, 65, "the exit code")
    expect_in(f"{NAME}: 'eos_token_id' must be a token id", done.stderr, "the error")
    expect((folder / "out" / "metrics.jsonl").exists(), False, "a trained step")
    return "exit 65 before the first step"


def main():
    binary = Path(sys.argv[1])
    torch.set_num_threads(1)
    with harness.scratch_folder() as scratch:
        checks = [
            without_a_file,
            whole_model,
            nothing_to_change,
            other_data,
            generate_stops,
            untrained_rows,
            bad_base_file,
        ]
        harness.run_checks(
            [
                (check.__name__, lambda check=check: check(binary, Path(scratch)))
                for check in checks
                if not sys.argv[2:] or any(word in check.__name__ for word in sys.argv[2:])
            ]
        )


if __name__ == "__main__":
    main()
