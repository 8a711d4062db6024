"""The arithmetic of ranks, heads, layers and microbatches."""

from .case import USAGE, Case, keys, nothing

CASES = [
    Case(
        "tensor parallel 3 does not divide 8 heads",
        USAGE,
        keys("parallel", tensor=3),
        r"\b3\b.*heads.*\b8\b|heads.*\b8\b.*\b3\b",
        ranks=3,
    ),
    Case(
        "3 ranks are not a multiple of tensor parallel 2",
        USAGE,
        nothing,
        r"\b3\b.*\b2\b|\b2\b.*\b3\b",
        ranks=3,
    ),
    Case(
        "1 rank, but tensor parallel 2", USAGE, nothing, r"\b1\b.*\b2\b|\b2\b.*\b1\b", ranks=1
    ),
]
