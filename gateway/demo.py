"""`reelmill demo`: the whole way of one video through a farm of its own, told while it happens."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
from rich.console import Console

from cluster.metadata.database import Database
from cluster.settings import ClusterSettings
from cluster.storage.open import open_store
from gateway.asset_tree import RenditionSummary, list_asset, summarise_renditions
from gateway.auth import load_secret, mint_token
from gateway.client import Client, Upload
from gateway.farm import Farm
from gateway.job_report import JobReport, read_report
from gateway.outcomes import require_playable
from gateway.progress import UploadBar, WaitView
from gateway.sample import write_sample
from gateway.schemas import PublishResponse
from gateway.settings import GatewaySettings
from gateway.transcode_view import rendition_table, step_table
from scheduler.jobs import Tier

USER = "demo"
TOKEN_TTL_S = 86_400
HOW_TO_PLAY = """\
to play it: ./reelmill demo --stay keeps the farm up for your browser, or for mpv, VLC or ffplay with the HLS address;
            ./reelmill up starts a farm that stays, and ./reelmill submit FILE sends to it"""


class Demo:
    """One demonstration. Everything it starts has ended when `run` returns or raises.

    Args:
        console: for what happens; `out` for what was made.
        file: None has a clip of `seconds` and `height` made up.
        keep: leave the farm's folder, with all that was made.
        stay: at the end keep the farm up until Ctrl-C.
    """

    def __init__(
        self,
        console: Console,
        out: Console,
        file: Path | None,
        *,
        profile: str,
        keep: bool,
        stay: bool,
        seconds: int,
        height: int,
    ) -> None:
        self.console = console
        self.out = out
        self.file = file
        self.profile = profile
        self.keep = keep
        self.stay = stay
        self.seconds = seconds
        self.height = height // 2 * 2
        self.steps: list[tuple[str, float]] = []

    def run(self) -> None:
        """Show it all.

        Raises:
            SourceRejected, ProcessingFailed, FarmNotStarted, ...: what the commands show as errors.
            KeyboardInterrupt: the farm has ended, its folder is removed unless it was to be kept.
        """
        root = Path(tempfile.mkdtemp(prefix="reelmill-demo-"))
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="sample") as pool:
                self._run(root, pool)
        finally:
            if self.keep:
                self.console.print(
                    f"kept: {root}\nserve it again: REELMILL_DATA_DIR={root / 'farm'} ./reelmill up", soft_wrap=True
                )
            else:
                shutil.rmtree(root, ignore_errors=True)

    def _run(self, root: Path, pool: ThreadPoolExecutor) -> None:
        # Nothing of a farm that is configured for this machine is touched.
        cluster = ClusterSettings(
            data_dir=root / "farm", database_url="", store_url="", redis_url="", ray_address="", ray_dashboard=False
        )
        gateway = GatewaySettings(host="127.0.0.1")
        making = pool.submit(self._make_clip, root / "clip.mp4") if self.file is None else None
        with contextlib.ExitStack() as stack:
            with self._step("start the farm", "starting a farm: Valkey, gateway, Ray, dispatcher"):
                farm = stack.enter_context(Farm(cluster, gateway))
            token = mint_token(
                load_secret(cluster.root, gateway.jwt_secret.get_secret_value()), USER, Tier.PAID, TOKEN_TTL_S
            )
            client = stack.enter_context(Client(farm.url, token))
            source = self._source(making)
            upload = self._upload(client, source)
            self._encode(client, upload)
            published = client.publish(upload.video_id)
            self.console.print(f"published: video {upload.video_id}")
            report = asyncio.run(_report(cluster, upload.job_id))
            self._show(cluster, published, report)
            if self.stay:
                self._stay(farm, token)

    def _make_clip(self, path: Path) -> Path:
        started = time.monotonic()
        write_sample(path, seconds=self.seconds, width=self.height * 16 // 9 // 2 * 2, height=self.height)
        self.steps.append(("make the clip", time.monotonic() - started))
        return path

    def _source(self, making: Future[Path] | None) -> Path:
        if self.file is not None:
            return self.file
        assert making is not None
        if not making.done():
            self.console.print(f"making a clip: {self.seconds} s, {self.height}p, with sound")
        path = making.result()
        self.console.print(f"made a clip: {path.stat().st_size / 1e6:.1f} MB")
        return path

    def _upload(self, client: Client, source: Path) -> Upload:
        with self._step("upload"), UploadBar(self.console, source.name) as bar:
            return client.upload(source, profile=self.profile, on_progress=bar.show)

    def _encode(self, client: Client, upload: Upload) -> None:
        with WaitView(self.console, client, upload.job_id) as view:
            status = client.wait(upload.video_id, on_status=view.show)
        rejection = status.rejection
        require_playable(
            status.status,
            rejection.code if rejection else None,
            rejection.detail if rejection else None,
            rejection.hint if rejection else None,
        )

    def _show(self, cluster: ClusterSettings, published: PublishResponse, report: JobReport) -> None:
        assets = published.assets
        self.out.print(rendition_table(_renditions(cluster, published)))
        self.out.print(step_table(report, self.steps))
        self.out.print("where it is", style="italic")
        for name, url in (
            ("HLS", assets.hls),
            ("DASH", assets.dash),
            *((f"MP4 {each.name}", each.url) for each in assets.mp4),
            ("thumbnail", assets.thumbnail),
            ("preview", assets.preview),
            ("storyboard", assets.storyboard),
        ):
            if url:
                self.out.print(f" {name:<11} {url}", soft_wrap=True, markup=False)
        if not self.stay:
            self.console.print(HOW_TO_PLAY, soft_wrap=True)

    def _stay(self, farm: Farm, token: str) -> None:
        self.console.print(f"\nopen {farm.url}/ in a browser, with this token:\n{token}", soft_wrap=True)
        self.console.print("Ctrl-C ends the farm")
        with contextlib.suppress(KeyboardInterrupt):
            farm.wait()

    @contextmanager
    def _step(self, name: str, sentence: str | None = None) -> Iterator[None]:
        """Time a step; say that it begins."""
        if sentence:
            self.console.print(sentence)
        started = time.monotonic()
        yield
        self.steps.append((name, time.monotonic() - started))


def _renditions(cluster: ClusterSettings, published: PublishResponse) -> list[RenditionSummary]:
    """What the multivariant playlist names, fetched as a player would."""
    if published.assets.hls is None:
        return []
    master = httpx.get(published.assets.hls, trust_env=False).raise_for_status().text
    prefix = f"assets/{published.video_id}/"
    files = list_asset(open_store(cluster.effective_store_url), prefix)
    # Below the video's prefix comes the asset's own key; there is one asset, made by one job.
    return summarise_renditions(master, {path.partition("/")[2]: info.size_bytes for path, info in files.items()})


async def _report(cluster: ClusterSettings, job_id: str) -> JobReport:
    database = Database(cluster.effective_database_url)
    try:
        return await read_report(database, job_id)
    finally:
        await database.close()
