"""Bad input by subject, a module each: CASES, a list of Case, which bad_input_test.py runs."""
