"""How the command line shows trained embeddings."""

from __future__ import annotations

from typing import Any

from ppo_jax.cli.console import make_console, make_table, number

__all__ = ["show_embeddings"]

HEADERS = {"mrr": "MRR", "hits@1": "Hits@1", "hits@3": "Hits@3", "hits@10": "Hits@10"}


def show_embeddings(found: dict[str, Any]) -> None:
    """What was trained, and how it ranks the answers of each split."""
    console = make_console()
    console.print(
        f"{found['model']} of dimension {found['dim']} on {found['data']}: best after epoch {found['epoch']} of "
        f"{found['epochs']}, {found['seconds']:.0f} s ({found['stopped']})"
    )
    table = make_table("", *(f">{header}" for header in HEADERS.values()))
    for split, metrics in found["splits"].items():
        table.add_row(split, *(number(metrics[name]) for name in HEADERS))
    console.print(table)
    console.print(found["protocol"], style="dim")
    console.print(f"written to {found['file']}", soft_wrap=True)
