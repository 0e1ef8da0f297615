"""What was measured, in tables, and which goals were reached."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from harness.measure import Cost


def seconds(value: float) -> str:
    """Short, with the unit that fits."""
    return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"


def size(value: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


@dataclass
class Goal:
    """A figure that has to be reached."""

    workload: str
    what: str
    measured: str
    limit: str
    reached: bool


@dataclass
class Section:
    """One workload."""

    name: str
    title: str
    tables: list[tuple[list[str], list[list[str]]]] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def table(self, header: list[str], rows: list[list[str]]) -> None:
        """Prints rows in columns."""
        self.tables.append((header, rows))
        say(columns([header, *rows]))

    def costs(self, rows: list[tuple[str, Cost]]) -> None:
        """The usual table."""
        lines = [[name, seconds(cost.cpu), seconds(cost.wall), size(cost.peak)] for name, cost in rows]
        self.table(["", "CPU", "wall", "peak memory"], lines)
        self.figures.update({name: cost.json() for name, cost in rows})

    def at_most(self, what: str, measured: float, limit: float, unit: Any = None) -> None:
        """A goal that is reached by being small enough. `unit` writes a figure; without it it is a number."""
        write = unit or (lambda value: f"{value:.3g}")
        self._goal(what, write(measured), f"≤ {write(limit)}", measured <= limit)

    def at_least(self, what: str, measured: float, limit: float) -> None:
        """A goal that is reached by being large enough."""
        self._goal(what, f"{measured:.0f}", f"≥ {limit:.0f}", measured >= limit)

    def fraction(self, what: str, part: float, whole: float, divisor: float) -> None:
        """A goal that is reached by being one of so many parts of another figure."""
        measured = f"1/{whole / part:.1f}" if part else "nothing"
        self._goal(what, measured, f"≤ 1/{divisor:g}", part * divisor <= whole)

    def holds(self, what: str, measured: str, reached: bool) -> None:
        """A goal that is reached or not."""
        self._goal(what, measured, "", reached)

    def _goal(self, what: str, measured: str, limit: str, reached: bool) -> None:
        goal = Goal(self.name, what, measured, limit, reached)
        self.goals.append(goal)
        wanted = f" (goal {limit})" if limit else ""
        say(f"{'reached' if reached else 'MISSED '}  {what}: {measured}{wanted}")

    def note(self, text: str) -> None:
        """A sentence that belongs to the figures."""
        self.notes.append(text)
        say(text)


class Report:
    """All workloads of a run."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        self.sections: list[Section] = []
        say(machine)

    def section(self, name: str, title: str) -> Section:
        """Begins a workload."""
        say(f"\n{name}: {title}")
        self.sections.append(Section(name, title))
        return self.sections[-1]

    def failed(self, name: str, command: str) -> None:
        """A workload that did not come to its end has missed its goals."""
        if not self.sections or self.sections[-1].name != name:
            self.section(name, "failed")
        self.sections[-1].holds("every command succeeds", command, False)

    @property
    def goals(self) -> list[Goal]:
        """Those of all workloads."""
        return [goal for section in self.sections for goal in section.goals]

    def summary(self) -> None:
        """All goals, once more, and how many were reached."""
        rows = [["", "goal", "measured", "", ""]]
        for goal in self.goals:
            verdict = "reached" if goal.reached else "MISSED"
            rows.append([goal.workload, goal.what, goal.measured, goal.limit, verdict])
        missed = sum(not goal.reached for goal in self.goals)
        say(f"\n{columns(rows)}\n{len(self.goals) - missed} of {len(self.goals)} goals reached")

    def json(self) -> dict[str, Any]:
        """Everything, for programs."""
        sections = {
            section.name: {
                "title": section.title,
                "figures": section.figures,
                "goals": [vars(goal) for goal in section.goals],
                "notes": section.notes,
            }
            for section in self.sections
        }
        return {"machine": self.machine, "workloads": sections}

    def markdown(self) -> str:
        """Everything, for docs/performance.md."""
        lines = [self.machine, "", "| | goal | measured | limit | |", "|---|---|---|---|---|"]
        for goal in self.goals:
            verdict = "reached" if goal.reached else "**missed**"
            lines.append(f"| {goal.workload} | {goal.what} | {goal.measured} | {goal.limit} | {verdict} |")
        for section in self.sections:
            lines += ["", f"### {section.name}: {section.title}"]
            for header, rows in section.tables:
                lines += ["", line(header), "|---" * len(header) + "|", *map(line, rows)]
            for note in section.notes:
                lines += ["", note]
        return "\n".join(lines)


def line(cells: list[str]) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def columns(rows: list[list[str]]) -> str:
    """Rows of text, with columns that line up: the first to the left, figures to the right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    figure = [all(row[at][:1] in "0123456789≤≥" for row in rows[1:]) for at in range(len(widths))]
    cells = [
        [cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, figure)]
        for row in rows
    ]
    return "\n".join("  ".join(row).rstrip() for row in cells)


def say(text: str) -> None:
    """To the person who waits; --json and --markdown have stdout for themselves."""
    print(text, file=sys.stderr, flush=True)
