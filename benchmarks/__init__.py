"""For capacity planners, and for proof: every claim about speed, memory or quality comes from a command here.

    python -m benchmarks --help

Each command prints a table, and with `--json FILE` writes what it measured together with the environment it measured
in. Nothing here is part of the wheel, and nothing in the product imports it.
"""
