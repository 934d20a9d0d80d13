"""Alert rules and the dashboard name metrics, labels and alerts that exist: one on a name that is gone never fires."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from cluster.metrics import ALERTS, DispatcherMetrics, GatewayMetrics

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
METRIC = re.compile(r"\breelmill_[a-z_]+\b")
OF_PROMETHEUS = {"job", "le", "instance"}


def rules() -> list[dict[str, Any]]:
    found = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    return [rule for group in found["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Where an expression stands, and the expression."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def series() -> dict[str, set[str]]:
    """Every time series that the farm offers, with its labels."""
    found: dict[str, set[str]] = {}
    registries: list[CollectorRegistry] = [DispatcherMetrics().registry, GatewayMetrics().registry]
    for registry in registries:
        for collector in registry._collector_to_names:
            labels = set(getattr(collector, "_labelnames", ()))
            for name in registry._collector_to_names[collector]:
                found[name] = labels
    return found


def raised() -> set[str]:
    """Names of the alerts that the engine can raise."""
    text = "".join(path.read_text() for path in (ROOT / "scheduler").glob("*.py"))
    direct = set(re.findall(r"\.alert\(\s*\"([a-z_]+)\"", text))
    chosen = re.findall(r"name = \"([a-z_]+)\" if .* else \"([a-z_]+)\"", text)
    return direct | {name for pair in chosen for name in pair}


@pytest.mark.parametrize(("place", "expression"), list(expressions()))
def test_an_expression_asks_for_what_there_is(place: str, expression: str) -> None:
    offered = series()
    for metric in METRIC.findall(expression):
        assert metric in offered, place
    for metric, selector in re.findall(r"(reelmill_[a-z_]+)\{([^}]*)\}", expression):
        for label in re.findall(r"([a-z_]+)\s*[=!]~?", selector):
            assert label in offered[metric] | OF_PROMETHEUS, place
    for metric, grouping in re.findall(r"by \(([a-z, ]+)\) \((?:[a-z_]+\()?(reelmill_[a-z_]+)", expression):
        for label in metric.split(", "):
            assert label in offered[grouping] | OF_PROMETHEUS, place
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing), place


def test_alerts_of_the_engine_are_named_as_it_names_them() -> None:
    told = {
        name
        for _, expression in expressions()
        for names in re.findall(r'name=~?"([^"]+)"', expression)
        for name in names.split("|")
    }
    assert told
    assert told <= raised()


def test_whatever_the_engine_raises_is_counted_from_0_and_has_a_rule() -> None:
    assert set(ALERTS) == raised()
    told = " ".join(rule["expr"] for rule in rules())
    assert [name for name in ALERTS if name not in told] == []
    registry = DispatcherMetrics().registry
    assert [registry.get_sample_value("reelmill_alerts_total", {"name": name}) for name in ALERTS] == [0.0] * len(
        ALERTS
    )


def test_each_rule_says_what_to_do_and_to_whom() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert {"summary", "description"} <= rule["annotations"].keys(), rule["alert"]
        for label in re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())):
            assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), f"{rule['alert']} has no label {label}"


def test_for_each_alert_it_is_shown_when_it_fires_and_when_it_does_not() -> None:
    """promtool runs that file (tests/integration/test_alert_rules.py); here is seen that it leaves none out."""
    shown = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())
    asked = [each for test in shown["tests"] for each in test["promql_expr_test"]]
    fires = " ".join(f"{each['expr']} {each['exp_samples']}" for each in asked if each["exp_samples"])
    silent = " ".join(each["expr"] for each in asked if not each["exp_samples"])
    for rule in rules():
        assert rule["alert"] in fires, f"{rule['alert']} is never shown to fire"
        assert rule["alert"] in silent, f"{rule['alert']} is never shown to be silent"
