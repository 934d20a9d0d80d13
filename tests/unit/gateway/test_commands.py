"""The command line without a farm: what is refused, how it is said, and the exit codes."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from cluster.metadata.lifecycle import VideoStatus
from encoders.errors import Damaged, FarmError
from gateway.cli import main
from gateway.client_http import ApiProblem, FarmUnreachable
from gateway.commands.exits import Exit, exit_code
from gateway.commands.tools import Duration
from gateway.farm_folder import FarmFolder
from gateway.outcomes import ProcessingFailed, SourceRejected, require_playable


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("REELMILL_URL", "REELMILL_TOKEN", "REELMILL_JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REELMILL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("gateway.cli.end_on_signals", lambda: None)
    return tmp_path


def code_of(*arguments: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_help_lists_the_commands_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("--help") == Exit.DONE
    text = capsys.readouterr().out
    for word in ("demo", "submit", "transcode", "doctor", "130 interrupted"):
        assert word in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit",),
        ("submit", "/no/such/file.mp4"),
        ("token", "--ttl", "soon"),
        ("token", "--sub", ""),
        ("token", "--tier", "gold"),
        ("nonsense",),
        ("up", "--port", "70000"),
    ],
)
def test_a_wrong_command_line_is_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(*arguments) == Exit.USAGE
    assert "Error" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("REELMILL_PORT", "abc", "REELMILL_PORT: Input should be a valid integer"),
        ("REELMILL_CORS_ORIGINS", "https://a.example", "cors_origins"),
        ("REELMILL_DATABASE_URL", "nonsense", "REELMILL_DATABASE_URL: no SQLAlchemy URL"),
        ("REELMILL_DATABASE_URL", "nosuch://user@host/name", "REELMILL_DATABASE_URL: no SQLAlchemy URL"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert code_of("up") == Exit.USAGE
    assert told in capsys.readouterr().err


def test_a_secret_that_could_be_guessed_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REELMILL_JWT_SECRET", "short")
    assert code_of("up") == Exit.FAILED
    assert "REELMILL_JWT_SECRET" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("submit",), ("transcode", "--out", "made"), ("demo",)])
def test_a_source_without_a_length_is_refused_at_once(
    command: tuple[str, ...], own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(own_folder / "pipe.mp4")
    assert code_of(*command, str(own_folder / "pipe.mp4")) == Exit.USAGE
    assert "save it to a file first" in capsys.readouterr().err


@pytest.mark.parametrize("job", ["nope", "../videos", "", "A" * 32, "0" * 33])
def test_what_is_no_id_is_told_without_asking_the_farm(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("explain", job) == Exit.USAGE
    assert "no job's id" in capsys.readouterr().err


def test_a_transcode_that_fails_leaves_the_folder_as_it_was(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_folder / "clip.mp4").write_bytes(b"x")
    command = ["transcode", str(own_folder / "clip.mp4"), "--profile", "nowhere", "--out"]
    assert code_of(*command, str(own_folder / "new")) == Exit.FAILED
    assert not (own_folder / "new").exists()
    (own_folder / "there").mkdir()
    assert code_of(*command, str(own_folder / "there")) == Exit.FAILED
    assert (own_folder / "there").is_dir()
    assert "there is no profile" in capsys.readouterr().err


def test_no_farm_is_4_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("jobs") == Exit.UNREACHABLE
    assert "./reelmill up" in capsys.readouterr().err


def test_a_farm_elsewhere_needs_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("jobs", "--url", "http://farm.example") == Exit.FAILED
    assert "--token" in capsys.readouterr().err


def test_a_token_can_be_made_before_the_farm_runs(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gateway.auth import load_secret, verify_token

    assert code_of("token", "--sub", "ann", "--tier", "paid", "--ttl", "1h") == Exit.DONE
    who = verify_token(load_secret(own_folder / "data"), capsys.readouterr().out.strip())
    assert (who.subject, str(who.tier)) == ("ann", "paid")


def test_transcode_overwrites_nothing(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, folder = own_folder / "a.mp4", own_folder / "out"
    source.write_bytes(b"x")
    folder.mkdir()
    (folder / "mine").write_text("dear")
    assert code_of("transcode", str(source), "--out", str(folder)) == Exit.USAGE
    assert "not empty" in capsys.readouterr().err
    assert (folder / "mine").read_text() == "dear"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("15m", 900.0), ("12h", 43_200.0), ("30d", 2_592_000.0), ("7", 7.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


def problem(status: int) -> ApiProblem:
    return ApiProblem.of(httpx.Response(status, json={"title": "No"}))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FarmError("x"), Exit.FAILED),
        (FarmUnreachable("x"), Exit.UNREACHABLE),
        (Damaged("x"), Exit.REJECTED),
        (SourceRejected("x"), Exit.REJECTED),
        (ProcessingFailed("x"), Exit.FAILED),
        (problem(413), Exit.REJECTED),
        (problem(401), Exit.FAILED),
    ],
)
def test_exit_codes_of_errors(error: FarmError, code: Exit) -> None:
    assert exit_code(error) is code


@pytest.mark.parametrize("status", list(VideoStatus))
def test_every_status_ends_well_or_as_an_error(status: VideoStatus) -> None:
    if not status.rejected:
        require_playable(status, None, None, None)
        return
    expected = ProcessingFailed if status is VideoStatus.PROCESSING_FAILED else SourceRejected
    with pytest.raises(expected, match=r"too long.*Trim it"):
        require_playable(status, "too_long", "it is too long.", "Trim it.")


def test_a_source_too_damaged_to_be_shown_is_no_fault_of_the_farm() -> None:
    with pytest.raises(SourceRejected, match=r"63% of the pictures"):
        require_playable(VideoStatus.PROCESSING_FAILED, "too_damaged", "63% of the pictures are damaged.", None)


def test_a_farm_that_was_killed_is_unreachable_not_a_traceback(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = FarmFolder(own_folder / "data")
    folder.root.mkdir()
    folder.write_state({"url": "http://127.0.0.1:9"})

    def refuse(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", refuse)
    monkeypatch.setattr("gateway.client_http.time.sleep", lambda _: None)
    monkeypatch.setattr("gateway.client_http.Backoff.pause_s", lambda *_: 0.0)
    assert code_of("jobs") == Exit.UNREACHABLE
    assert "http://127.0.0.1:9" in capsys.readouterr().err


def test_an_interrupted_command_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.commands.jobs.open_client", interrupt)
    assert code_of("jobs") == Exit.INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/secret.mp4")

    monkeypatch.setattr("gateway.commands.jobs.open_client", refuse)
    assert code_of("jobs") == Exit.FAILED
    assert "Permission denied: '/secret.mp4'" in capsys.readouterr().err
