"""Shows the progress of long work on standard error."""

from __future__ import annotations

import sys
import time


class ProgressBar:
    """A context manager that shows a bar with the time left on a terminal, or a line every 100 steps elsewhere.

    It gives the block its `advance`, which is called once a step.
    """

    def __init__(self, stage: str, total: int, start: int = 0, quiet: bool = False):
        """stage: name of the work. total: how many steps it has. start: how many are done already. quiet: shows
        nothing.
        """
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, quiet=quiet)
        self.plain, self.quiet = quiet or not console.is_terminal, quiet
        self.stage, self.total, self.start, self.begun = stage, total, start, time.monotonic()
        self.done = start
        if not self.plain:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=console,
            )
            self.task = self.bar.add_task(stage, total=total, completed=start, note="")

    def __enter__(self):
        if not self.plain:
            self.bar.start()
        return self.advance

    def __exit__(self, *_):
        if not self.plain:
            self.bar.stop()

    def advance(self, record: dict) -> None:
        """Counts a step. record: name -> figure of this step; the numbers among them are shown."""
        self.done += 1
        note = "  ".join(f"{k} {v:.4g}" for k, v in record.items() if k != "step" and isinstance(v, (int, float)))
        if not self.plain:
            self.bar.update(self.task, advance=1, note=note)
        elif not self.quiet and (self.done % 100 == 0 or self.done == self.total):
            left = (time.monotonic() - self.begun) / (self.done - self.start) * (self.total - self.done)
            print(
                f"{self.stage} {self.done}/{self.total}  {note}  {left / 60:.1f} min left", file=sys.stderr, flush=True
            )
