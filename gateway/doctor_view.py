"""The doctor's findings as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from gateway.doctor import Finding, Verdict

COLOURS = {Verdict.YES: "green", Verdict.NO: "yellow", Verdict.FATAL: "bold red"}


def as_table(findings: Sequence[Finding]) -> Table:
    """One row a finding."""
    table = Table("what", "", "found, or why not", box=None, pad_edge=False)
    for finding in findings:
        colour = COLOURS[finding.verdict]
        table.add_row(finding.subject, f"[{colour}]{finding.verdict}[/]", escape(finding.detail))
    return table
