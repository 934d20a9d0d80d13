"""What a supervisor decides without starting anything: settings as variables, pauses between restarts, the lock."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cluster.settings import ClusterSettings
from gateway.farm import FIRST_PAUSE_S, LONGEST_PAUSE_S, Child, Farm, as_environment
from gateway.farm_folder import FarmFolder, FarmRunning
from gateway.settings import GatewaySettings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REELMILL_PORT", "REELMILL_HOST", "REELMILL_DATA_DIR", "REELMILL_WORKER_SLOTS"):
        monkeypatch.delenv(name, raising=False)


def test_settings_survive_the_way_through_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gateway = GatewaySettings(
        port=0,
        jwt_secret=SecretStr("s" * 32),
        cors_origins=("https://a.example", "https://b.example"),
        initiate_rates={"free": "3/minute"},
    )
    cluster = ClusterSettings(data_dir=tmp_path, worker_slots=3, log_json=True)
    for name, value in {**as_environment(gateway), **as_environment(cluster)}.items():
        monkeypatch.setenv(name, value)
    assert GatewaySettings() == gateway
    assert ClusterSettings() == cluster


def test_defaults_are_left_to_the_child() -> None:
    assert as_environment(GatewaySettings(port=1)) == {"REELMILL_PORT": "1"}


def test_a_process_that_keeps_dying_is_restarted_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("gateway.farm.time.monotonic", lambda: now[0])
    child = Child("x", "x", FarmFolder(tmp_path))
    child.started_at = now[0]
    pauses = [child.pause_s() for _ in range(12)]
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == LONGEST_PAUSE_S
    now[0] += 3600
    assert child.pause_s() == FIRST_PAUSE_S


def test_a_folder_takes_one_farm_at_a_time(tmp_path: Path) -> None:
    first, second = FarmFolder(tmp_path), FarmFolder(tmp_path)
    first.claim()
    first.write_state({"url": "http://x", "pid": 7})
    with pytest.raises(FarmRunning, match="process 7"):
        second.claim()
    assert second.state() == {"url": "http://x", "pid": 7}
    first.release()
    assert second.state() == {}
    second.claim()
    second.release()


def test_what_a_killed_farm_wrote_is_not_believed(tmp_path: Path) -> None:
    FarmFolder(tmp_path).write_state({"url": "http://old"})
    folder = FarmFolder(tmp_path)
    folder.claim()
    assert folder.state() == {}
    folder.release()


def test_a_full_disk_does_not_end_the_watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries, written = [0], threading.Event()

    def write_state(state: dict[str, Any]) -> None:
        tries[0] += 1
        if tries[0] == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.set()

    def hung_up(sentence: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("gateway.farm.reap_adopted", lambda known: None)
    farm = Farm(ClusterSettings(data_dir=tmp_path), None, tell=hung_up)
    monkeypatch.setattr(farm.folder, "write_state", write_state)
    died = Child("x", "x", farm.folder)
    started = threading.Event()
    monkeypatch.setattr(Child, "died", property(lambda child: not started.is_set()))
    monkeypatch.setattr(Child, "start", lambda child, environment: started.set())
    monkeypatch.setattr(died, "process", type("Ended", (), {"returncode": -9, "pid": 1})())
    farm._children.append(died)
    watching = threading.Thread(target=farm._watch)
    watching.start()
    assert written.wait(60)
    assert started.wait(60)
    farm._stopping.set()
    watching.join()
