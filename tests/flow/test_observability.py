"""Alerts and dashboard ask for what the service exports, in PromQL that Prometheus takes."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from models.decision import Outcome
from service.errors import STATUS
from service.observe.metrics import CATALOGUE, DropReason, FailReason, Stage

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "likeness.json"
UNIT_TESTS = sorted((ROOT / "tests" / "prometheus").glob("*.yaml"))
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="there is no promtool; Debian's will do: apt-get install prometheus"
)

# What Prometheus itself adds to whatever it collects.
TARGET_LABELS = {"job", "instance"}
METRIC = re.compile(r"(likeness_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
KNOWN_VALUES = {
    ("likeness_problems_total", "problem"): set(STATUS),
    ("likeness_batch_failures_total", "reason"): set(get_args(FailReason)),
    ("likeness_jobs_dropped_total", "reason"): set(get_args(DropReason)),
    ("likeness_decisions_total", "decision"): set(get_args(Outcome)),
    ("likeness_stage_seconds", "stage"): set(get_args(Stage)),
}


@cache
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@cache
def panels() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return listed


def asked_by_panels() -> Iterator[str]:
    for panel in panels():
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "5m")


def family(name: str) -> str:
    """Return the metric that a series belongs to: histograms have three kinds."""
    plain = re.sub(r"_(bucket|sum|count)$", "", name)
    return plain if plain in CATALOGUE else name


EXPRESSIONS = [rule["expr"] for rule in rules()] + list(asked_by_panels())
ALERT_NAMES = [rule["alert"] for rule in rules() if "alert" in rule]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_exists_with_the_labels_that_are_asked_for(expression: str) -> None:
    asked = METRIC.findall(expression)
    known = TARGET_LABELS | {"le"}
    for name, matchers in asked:
        labels = CATALOGUE[family(name)].labels
        known |= set(labels)
        for label, values in MATCHER.findall(matchers):
            assert label in {*labels, "le"}
            values_there_are = KNOWN_VALUES.get((family(name), label))
            assert values_there_are is None or set(values.split("|")) <= values_there_are
    if asked:
        grouped = ",".join(GROUPING.findall(expression)).split(",")
        assert {word.strip() for word in grouped} - {""} <= known


def test_recorded_series_that_are_asked_for_are_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for each in EXPRESSIONS for name in re.findall(r"likeness:[a-z0-9:]+", each)}
    assert asked == recorded


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {family(name) for each in asked_by_panels() for name, _ in METRIC.findall(each)}
    assert set(CATALOGUE) - shown == set()


def test_every_panel_says_what_it_shows_and_has_its_place() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or panel["description"]
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_legends_name_labels_that_the_series_have() -> None:
    for panel in panels():
        for target in panel.get("targets", ()):
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = {
                word.strip()
                for words in re.findall(r"\bby \(([^)]*)\)", target["expr"])
                for word in words.split(",")
            }
            assert wanted <= kept | TARGET_LABELS | {"measure"}


@pytest.mark.parametrize("name", ALERT_NAMES)
def test_every_alert_says_what_is_wrong_and_what_to_do(name: str) -> None:
    (rule,) = (rule for rule in rules() if rule.get("alert") == name)
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert {"summary", "description"} <= rule["annotations"].keys()


@pytest.mark.parametrize("name", ALERT_NAMES)
def test_every_alert_is_shown_to_fire_and_to_keep_silent(name: str) -> None:
    cases = [
        case["exp_alerts"]
        for path in UNIT_TESTS
        for group in yaml.safe_load(path.read_text())["tests"]
        for case in group["alert_rule_test"]
        if case["alertname"] == name
    ]
    assert any(cases)
    assert not all(cases)


@needs_promtool
def test_the_rules_are_accepted() -> None:
    promtool("check", "rules", str(ALERTS))


@needs_promtool
def test_alerts_fire_on_trouble_and_not_on_health() -> None:
    promtool("test", "rules", *map(str, UNIT_TESTS))


@needs_promtool
def test_every_panel_asks_in_promql(tmp_path: Path) -> None:
    asked = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(asked_by_panels())
    ]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": asked}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", str(path))


def promtool(*words: str) -> str:
    assert PROMTOOL is not None
    ran = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
