#!/usr/bin/env python3
"""Tables as pandas, pyarrow and Python's csv write them, beside the JSON Lines of the same rows: tests/golden/tables/.

Run it in an environment with pyarrow and pandas (pandas is in none of launch/requirements*.txt: the files are kept).
"""

import csv
import json
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet

HERE = Path(__file__).parent / "tables"

ALPACA = [
    {"instruction": "Say hello.", "input": "", "output": "Hello, world!"},
    {"instruction": 'Quote "this"\nover two lines', "input": "a,b;c", "output": 'He said: "no", twice\r\nand left.'},
    {"instruction": "Größe? 大きい 🦊", "input": "\ttabs, and  blanks ", "output": "\u00dcber 3\n\n\nlines\\n"},
    {"instruction": "null", "input": "[]", "output": "{}x"},
    {"instruction": "List:", "input": "=1+1", "output": "- a\n- b\n"},
]
TALKS = [
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": 'Hello "you",\nthere'}], "n": 1},
    {
        "messages": [
            {"role": "system", "content": "Be brief. 大"},
            {"role": "user", "content": "1+1?"},
            {"role": "assistant", "content": "2"},
            {"role": "user", "content": "And 2+2?"},
            {"role": "assistant", "content": "4"},
        ],
        "n": None,
    },
]
TOKENS = [{"input_ids": [5, 6, 7, 8], "labels": [-100, 6, 7, 8]}, {"input_ids": [9, 10], "labels": [-100, 10]}]


def lines(name, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (HERE / name).write_bytes(text.encode())


def parquet(name, table, **options):
    pyarrow.parquet.write_table(table, HERE / name, **options)


def main():
    HERE.mkdir(exist_ok=True)
    lines("alpaca.jsonl", ALPACA)
    lines("talks.jsonl", TALKS)
    lines("tokens.jsonl", TOKENS)

    frame = pandas.DataFrame(ALPACA)
    frame.to_csv(HERE / "alpaca.pandas.csv", index=False)
    frame.to_csv(HERE / "alpaca.index.csv", lineterminator="\r\n", encoding="utf-8-sig")
    frame.to_csv(HERE / "alpaca.pandas.tsv", index=False, sep="\t")
    frame.to_csv(HERE / "alpaca.packed.csv.gz", index=False, compression={"method": "gzip", "mtime": 1})
    with open(HERE / "alpaca.quoted.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(ALPACA[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(ALPACA)
    for name, rows in [("talks", TALKS), ("tokens", TOKENS)]:
        texts = [{key: json.dumps(value, ensure_ascii=False) for key, value in row.items()} for row in rows]
        pandas.DataFrame(texts).to_csv(HERE / f"{name}.text.csv", index=False)

    table = pyarrow.Table.from_pylist(ALPACA)
    parquet("alpaca.parquet", table)
    frame.to_parquet(HERE / "alpaca.pandas.parquet")
    large = pyarrow.schema([(name, pyarrow.large_string()) for name in table.column_names])
    parquet("alpaca.large.parquet", table.cast(large), row_group_size=2, compression="zstd")
    parquet("alpaca.dictionary.parquet",
            pyarrow.table({name: table[name].dictionary_encode() for name in table.column_names}), compression="gzip")
    nulls = [{**row, "input": row["input"] or None, "history": None} for row in ALPACA]
    parquet("alpaca.nulls.parquet", pyarrow.Table.from_pylist(nulls), row_group_size=1, compression="none")
    parquet("talks.parquet", pyarrow.Table.from_pylist(TALKS), row_group_size=1)
    turn = pyarrow.struct([("role", pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
                           ("content", pyarrow.large_string())])
    large_talks = pyarrow.schema([("messages", pyarrow.large_list(turn)), ("n", pyarrow.float64())])
    parquet("talks.large.parquet", pyarrow.Table.from_pylist(TALKS, schema=large_talks))
    texts = [{"messages": json.dumps(row["messages"])} for row in TALKS]
    parquet("talks.text.parquet", pyarrow.Table.from_pylist(texts))
    parquet("tokens.parquet", pyarrow.Table.from_pylist(TOKENS))
    parquet("empty.parquet", table.slice(0, 0))
    dates = pyarrow.table({"text": pyarrow.array([0], pyarrow.timestamp("us"))})
    parquet("dates.parquet", dates)


if __name__ == "__main__":
    main()
