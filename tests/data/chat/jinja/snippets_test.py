"""snippets_test.py PROGRAM: the expressions and templates of snippets.py, as Jinja2 renders them."""
import sys

import oracle
import snippets


def main():
    ours = oracle.Interpreter(sys.argv[1])
    good = True
    for what, templates in (("expressions", sorted(set(snippets.chains()))), ("templates", snippets.TEMPLATES)):
        tally = oracle.Tally()
        for template in templates:
            tally.add(template, oracle.jinja2_answer(template, snippets.VALUES),
                      ours.answer(template, snippets.VALUES), may_refuse=True)
        good = tally.report(f"{len(templates)} {what}", show=200) and good
    ours.close()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
