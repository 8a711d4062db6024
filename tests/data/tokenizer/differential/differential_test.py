#!/usr/bin/env python3
"""Are the ids of fttrain those of the libraries that the files belong to?

    differential_test.py ENCODE_STRINGS                  small trained tokenizers, some thousand strings each
    differential_test.py ENCODE_STRINGS --campaign DIR   real ones of every family too, out of packages that are kept in
                                                         DIR (400 MB), on more than 200,000 strings each; half an hour

The first runs with the tests (launch/setup.sh --with-tests), the second with launch/requirements-tokenizers.txt:
mistral-common asks for an older numpy than the tests.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

try:
    import regex  # noqa: F401
    import sentencepiece  # noqa: F401
    import tiktoken  # noqa: F401
    import tokenizers  # noqa: F401
except ImportError as missing:
    sys.exit(f"{missing}: run launch/setup.sh --with-tests, or configure with -DFTTRAIN_PYTHON=PROGRAM")

import differ
import texts
import trained


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--campaign", type=Path, metavar="DIR")
    parser.add_argument("--only", nargs="*", help="names of tokenizers")
    parser.add_argument("--show", type=int, default=5, help="differences of a tokenizer to print")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cases = trained.make(Path(scratch))
        if args.campaign:
            import real

            cases |= real.make(args.campaign, args.campaign / "folders")
        strings = texts.campaign if args.campaign else texts.small
        failures = 0
        for name, case in cases.items():
            if args.only and name not in args.only:
                continue
            result = differ.compare(args.binary, case, strings, scratch)
            if isinstance(result, str):
                print(f"{name}: refused: {result}", flush=True)
                failures += 1
                continue
            count, differences = result
            print(f"{name}: {len(differences)} of {count} strings differ from {case[1]}", flush=True)
            for string, want, got in differences[: args.show]:
                print(f"  {ascii(string)[:200]}\n    want {want[:40]}\n    got  {got[:40]}")
            failures += bool(differences)
    print(f"{failures} of {len(cases)} tokenizers differ or are refused")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
