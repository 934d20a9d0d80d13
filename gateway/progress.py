"""What a person sees while files travel and are encoded: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from encoders.errors import FarmError
from gateway.client import Client
from gateway.schemas import StatusResponse

EXPLAIN_EVERY_S = 1.0


class UploadBar:
    """A bar for one file that travels. A context manager; `show` may be called from any thread."""

    def __init__(self, console: Console, name: str) -> None:
        self._progress = Progress(
            TextColumn("upload {task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task(escape(name), total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, sent_bytes: int, total_bytes: int) -> None:
        """Draw how much has gone."""
        self._progress.update(self._task, completed=sent_bytes, total=total_bytes)


class WaitView:
    """A bar for the job and one for each rendition, and what the scheduler says of the job."""

    def __init__(self, console: Console, client: Client, job_id: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description:>12}"),
            BarColumn(),
            TextColumn("{task.percentage:>5.1f} %"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )
        self._client = client
        self._job_id = job_id
        self._whole = self._progress.add_task("UPLOADED", total=100, note="")
        self._renditions: dict[str, TaskID] = {}
        self._explained_at = 0.0
        self._plain = not console.is_terminal
        self._console = console
        self._said = ""

    def __enter__(self) -> Self:
        if not self._plain:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._plain:
            self._progress.stop()

    def show(self, status: StatusResponse) -> None:
        """Draw where the video is; `Client.wait` calls it with every answer."""
        if self._plain:
            self._say(status)
            return
        self._progress.update(
            self._whole, completed=status.progress.percent, description=str(status.status), note=self._note(status)
        )
        for rendition in status.progress.renditions:
            if rendition.name not in self._renditions:
                self._renditions[rendition.name] = self._progress.add_task(rendition.name, total=100, note="")
            self._progress.update(self._renditions[rendition.name], completed=rendition.percent)

    def _say(self, status: StatusResponse) -> None:
        """A line for each tenth of the way: logs are read later, by people in a hurry."""
        line = f"{status.status} {status.progress.percent // 10 * 10:.0f} %"
        if line != self._said:
            self._said = line
            self._console.print(line)

    def _note(self, status: StatusResponse) -> str:
        if status.status.settled:
            return ""
        now = time.monotonic()
        if now - self._explained_at < EXPLAIN_EVERY_S:
            return str(self._progress.tasks[0].fields["note"])
        self._explained_at = now
        try:
            return escape(self._client.explain(self._job_id).reason)
        except FarmError:
            return ""
