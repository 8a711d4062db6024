"""The words behind the program's name."""

from .case import MISSING, USAGE, Case, nothing


def without(section):
    return lambda folder, config: config.pop(section)


CASES = [
    Case(
        "two configs",
        USAGE,
        nothing,
        r"two configs, 'other\.yaml' and '.*run\.yaml': give one",
        command=("train", "other.yaml"),
    ),
    Case(
        "a key without its section", USAGE, nothing, r"r=4.*adapter\.r\b", command=("train", "r=4")
    ),
    Case(
        "a flag's number",
        USAGE,
        nothing,
        r"--seed=x: must be",
        command=("generate", "--prompt=a", "--seed=x"),
    ),
    Case(
        "there is no model to generate with",
        USAGE,
        without("model"),
        r"'model\.path' is missing: the folder of a Hugging Face model",
        command=("generate", "--prompt=a"),
    ),
    Case(
        "the rows to evaluate are missing",
        MISSING,
        nothing,
        r"cannot open absent\.jsonl: No such file",
        command=("logits", "--input=absent.jsonl", "--output=logits.safetensors"),
    ),
    Case(
        "no steps to verify",
        USAGE,
        nothing,
        r"--steps=0.*at least 1",
        command=("verify", "--steps=0"),
    ),
    Case(
        "more steps to verify than the run has",
        USAGE,
        nothing,
        r"--steps=4 is more than the run has, 3",
        command=("verify", "--steps=4"),
    ),
    Case(
        "a reference of more ranks than there are",
        USAGE,
        nothing,
        r"--reference=tp=2,pp=2.*more than the 2",
        command=("verify", "--reference=tp=2,pp=2"),
    ),
    Case(
        "a layout to verify that the ranks do not fit",
        USAGE,
        nothing,
        r"parallel.*mpirun -np",
        ranks=3,
        command=("verify",),
    ),
    Case(
        "a command is misspelt",
        USAGE,
        nothing,
        r"unknown command 'trian', did you mean 'train'\?",
        command=("trian",),
    ),
    Case(
        "a flag is misspelt",
        USAGE,
        nothing,
        r"unknown flag '--print-confg' of 'train', did you mean '--print_config'",
        command=("train", "--print-confg"),
    ),
    Case(
        "an override has a wrong type",
        USAGE,
        nothing,
        r"--set train\.max_steps=x: 'train\.max_steps' must be a whole number, not 'x'",
        command=("train", "--set", "train.max_steps=x"),
    ),
    Case(
        "an override of a list's element that is not there",
        USAGE,
        nothing,
        r"--set data\.train\.3\.path=x: 'data\.train' has no element 3 \(its length is 1",
        command=("train", "--set", "data.train.3.path=x"),
    ),
    Case(
        "a rig of unknown cards",
        USAGE,
        nothing,
        r"2x4091.*4090",
        command=("plan", "--rig=2x4091"),
    ),
    Case(
        "a rig and another number of ranks",
        USAGE,
        nothing,
        r"--ranks=3 and --rig has 2 cards: leave out --ranks",
        command=("plan", "--rig=2x4090", "--ranks=3", "device=auto"),
    ),
    Case(
        "a rig for a run on CPUs",
        USAGE,
        nothing,
        r"--rig is of GPUs and the config has device: cpu",
        command=("plan", "--rig=2x4090"),
    ),
    Case(
        "a search without a rig",
        USAGE,
        nothing,
        r"--search needs a rig: --rig=2x4090",
        command=("plan", "--search"),
    ),
    Case(
        "a method that there is not",
        USAGE,
        nothing,
        r"--method=dora: must be qlora, lora or full",
        command=("plan", "--method=dora"),
    ),
    Case(
        "a model that is neither a folder nor a shape",
        MISSING,
        nothing,
        r"model\.path lama-3\.1-70b: no such folder, and no shape is called .*did you mean llama-3\.1-70b\? known are ",
        command=("plan", "--model=lama-3.1-70b"),
    ),
    Case(
        "a desktop that leaves nothing",
        USAGE,
        nothing,
        r"--desktop=24 leaves nothing of a card's 23\.",
        command=("plan", "--rig=2x4090", "--desktop=24"),
    ),
]
