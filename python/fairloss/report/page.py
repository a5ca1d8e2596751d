"""The page, from its templates and the data of its sections."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fairloss.io.text import printable_lines
from fairloss.report import (
    classes,
    cost,
    groups,
    losses,
    nearest,
    policy,
    roc,
    seeds,
    verification,
)
from fairloss.report.run_view import ARM_NAMES, Run

# In reading order: the template of each section, and the function that returns its data.
SECTIONS: Mapping[str, Callable[[Run], dict[str, Any] | None]] = {
    "classes": classes.section,
    "groups": groups.section,
    "policy": policy.section,
    "seeds": seeds.section,
    "roc": roc.section,
    "verification": verification.section,
    "faces": nearest.section,
    "cost": cost.section,
    "loss": losses.section,
}


def render_page(run: Run) -> str:
    """Return the HTML of the whole page, without the sections whose files are missing."""
    from fairloss_ext import build_info

    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([folder / "templates", folder]),
        autoescape=True,
        finalize=_as_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["csv"] = csv_text
    data = {name: section(run) for name, section in SECTIONS.items()}
    return environment.get_template("page.html.j2").render(
        run=run,
        arm_names=ARM_NAMES,
        html=environment.get_template("macros.html.j2").module,
        sections={name: values for name, values in data.items() if values is not None},
        build="\n".join(f"{key}: {value}" for key, value in asdict(build_info()).items()),
    )


def _as_text(value: Any) -> Any:
    """Return text that UTF-8 can hold; SVG and what a macro returns are already."""
    return printable_lines(value) if type(value) is str else value


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV; full precision, empty for None."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
