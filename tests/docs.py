"""Make the parts of the documentation that come from code; `python -m tests.docs` writes them."""

import re
from pathlib import Path

from models.bundle import BUILTIN_FOLDER, BUILTIN_NAMES, read_manifest
from models.decision import Rate
from service.errors import STATUS
from service.observe.metrics import CATALOGUE
from service.settings import PREFIX, Settings
from tests.tools.bench import plan

README = Path(__file__).parent.parent / "README.md"
_PAGES = README.parent / "deploy"
API, CAPACITY, EXAMPLES, PROTECTION, REFERENCE = (
    _PAGES / f"{name}.md" for name in ("api", "capacity", "examples", "protection", "reference")
)


def results_table() -> str:
    """Return the measured rates of the built-in bundles."""
    rows = ["| bundle | accuracy | FNMR at FMR 1e-2 | at 1e-3 | at 1e-4 | failure to enrol |"]
    rows.append("|---|---|---|---|---|---|")
    for name in BUILTIN_NAMES:
        calibration = read_manifest(BUILTIN_FOLDER / name).calibration
        if calibration is None:
            continue
        fnmr = {point.name: _percent(point.fnmr) for point in calibration.operating_points}
        cells = (fnmr.get(f"fmr_1e-{power}", "not supported") for power in (2, 3, 4))
        rows.append(
            f"| `{name}` | {calibration.accuracy:.3f} | {' | '.join(cells)} "
            f"| {calibration.failure_to_enrol:.2%} |"
        )
    return "\n".join(rows)


def _percent(rate: Rate) -> str:
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"


def settings_table() -> str:
    """Return every variable, its default and its meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        unset = field.default_factory is not None or field.default in (None, ())
        default = "unset" if unset else f"`{_plain(field.default)}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def _plain(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def problems_table() -> str:
    """Return every code and its status."""
    by_status: dict[int, list[str]] = {}
    for code, status in STATUS.items():
        by_status.setdefault(status, []).append(f"`{code}`")
    rows = ["| status | codes |", "|---|---|"]
    rows += [f"| {status} | {', '.join(codes)} |" for status, codes in sorted(by_status.items())]
    return "\n".join(rows)


def metrics_table() -> str:
    """Return every metric and its meaning."""
    rows = ["| metric | by | meaning |", "|---|---|---|"]
    for name, info in CATALOGUE.items():
        labels = ", ".join(f"`{label}`" for label in info.labels)
        rows.append(f"| `{name}` | {labels} | {info.help_text} |")
    return "\n".join(rows)


SECTIONS = {
    "results": (README, results_table),
    "settings": (REFERENCE, settings_table),
    "problems": (REFERENCE, problems_table),
    "metrics": (REFERENCE, metrics_table),
    "plan": (CAPACITY, plan.tables),
}


def section(text: str, name: str) -> str:
    """Return the text between the marks of a section."""
    match = re.search(rf"<!-- {name}:begin -->\n(.*?)\n?<!-- {name}:end -->", text, re.DOTALL)
    assert match is not None, f"there is no section {name}"
    return match[1]


def put(text: str, name: str, content: str) -> str:
    """Return the text with new content between the marks of a section."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    before, rest = text.split(begin)
    return f"{before}{begin}{content}\n{end}{rest.split(end)[1]}"


def main() -> None:
    """Write all sections."""
    for name, (page, render) in SECTIONS.items():
        page.write_text(put(page.read_text(), name, render()))


if __name__ == "__main__":
    main()
