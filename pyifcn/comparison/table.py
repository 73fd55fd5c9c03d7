"""The table of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["table"]

_COLUMNS = ("AR@10", "AR@100", "AR@1000", "quality", "mAP@0.5", "mAP@0.7")
_HEADINGS = (
    "network",
    "trained on",
    "AR@10",
    "AR@100",
    "AR@1000",
    "TP/(TP+FP+FN)",
    "mAP@0.5",
    "mAP@0.7",
    "head parameters",
    "head GFLOP",
    "s an image",
)
_VIEWS = {"crop": "crops", "image": "whole images"}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table.

    Args:
        rows: What ``measure`` gave, with "title" and "view".
    """
    lines = [_line(_HEADINGS), _line(["---"] * len(_HEADINGS))]
    for row in rows:
        lines.append(_line(_cells(row, row["title"], "")))
        if "mAP@0.5 without voting" in row:
            plain = {"title": "", "view": row["view"]}
            plain |= {name: row[f"{name} without voting"] for name in ("mAP@0.5", "mAP@0.7")}
            lines.append(_line(_cells(plain, f"{row['title']} without mask voting", "")))
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any], title: str, missing: str) -> list[str]:
    return [
        title,
        _VIEWS[row["view"]],
        *(f"{row[name]:.3f}" if row.get(name, -1) >= 0 else missing for name in _COLUMNS),
        f"{row['head parameters'] / 1e6:.3f} M" if "head parameters" in row else missing,
        f"{row['head GFLOP']:.2f}" if "head GFLOP" in row else missing,
        f"{row['seconds']:.2f}" if "seconds" in row else missing,
    ]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
