"""A head node that gives up on slow agents is started again, a few times, and no other failure is."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import ray_node
from cluster.errors import ClusterUnavailable
from cluster.ray_node import RayNode


class Node(RayNode):
    """Starts nothing: says in its log what it is told to, and answers at the try that it is told to."""

    def __init__(self, folder: Path, answers_at: int, log: bytes = ray_node.GAVE_UP) -> None:
        super().__init__(folder, 1)
        self.temp_dir = folder / "ray"
        self.tries, self.stops = 0, 0
        self.answers_at = answers_at
        self.says = log

    def _launch(self) -> None:
        self.tries += 1
        logs = self.temp_dir / "session_2026" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "raylet.err").write_bytes(b"Check failed: " + self.says)

    def _answers(self) -> bool:
        return self.tries == self.answers_at

    def stop(self) -> None:
        self.stops += 1


def test_it_is_started_again_until_it_answers(tmp_path: Path) -> None:
    node = Node(tmp_path, answers_at=3)
    node.port = 6379
    assert node.start() == "127.0.0.1:6379"
    assert (node.tries, node.stops) == (3, 2)


def test_but_not_for_ever(tmp_path: Path) -> None:
    node = Node(tmp_path, answers_at=9)
    with pytest.raises(ClusterUnavailable):
        node.start()
    assert node.tries == node.stops == ray_node.TRIES


def test_what_else_is_wrong_is_waited_for_and_then_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_node, "START_TIMEOUT_S", 0.0)
    node = Node(tmp_path, answers_at=9, log=b"something else")
    with pytest.raises(ClusterUnavailable):
        node.start()
    assert (node.tries, node.stops) == (1, 1)
