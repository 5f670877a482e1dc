"""The report of one or more runs: report.md, one self-contained report.html, and the figures as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.report.blocks import Drawings
from ppo_jax.analysis.report.content import build
from ppo_jax.analysis.report.html import to_html
from ppo_jax.analysis.report.markdown import to_markdown
from ppo_jax.analysis.report.svg import standalone
from ppo_jax.analysis.run_sets import RunSet
from ppo_jax.runs.files import write_atomically
from ppo_jax.types import PPOJaxError

__all__ = ["build", "to_html", "to_markdown", "write"]


def write(
    runs: Sequence[RunLog] | Sequence[RunSet], folder: str | Path, limits: Mapping[str, float] | None = None
) -> tuple[Path, ...]:
    """Write report.html, report.md and ``figures/*.svg``, which the Markdown links.

    Args:
        runs: the runs, put together by configuration, or run sets; the first is what the others are compared with.
        folder: where to; made if it is not there.
        limits: of the validation, as of `validate.read_limits`; beside them the benchmark has the plan's.

    Returns:
        The files written, report.html first.

    Raises:
        PPOJaxError: no runs, or the folder cannot be written.
    """
    folder = Path(folder)
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PPOJaxError(f"{folder}: cannot be written: {error.strerror}; choose another folder") from None
    document = build(runs, limits)
    blocks = [block for section in document.sections for block in section.blocks]
    drawings = [one for block in blocks if isinstance(block, Drawings) for one in block.drawings]
    texts = {"report.html": to_html(document), "report.md": to_markdown(document)}
    texts |= {f"figures/{one.name}.svg": standalone(one) for one in drawings}
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return tuple(folder / name for name in texts)
