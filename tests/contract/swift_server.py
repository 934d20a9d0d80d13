"""OpenStack Swift from its wheel as a real S3 endpoint: four small processes, signatures checked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "test:tester", "SKTESTSKTEST"
START_S = 40.0
BACKENDS = ("account", "container", "object")

SERVER = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}
devices = {folder}/dev
mount_check = false
workers = 0
user = {user}
log_level = ERROR
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""
PROXY = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}
workers = 0
user = {user}
log_level = ERROR
[pipeline:main]
pipeline = catch_errors proxy-logging cache listing_formats bulk s3api tempauth copy slo dlo proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:proxy-logging]
use = egg:swift#proxy_logging
access_log_level = CRITICAL
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
min_segment_size = 5242880
allow_multipart_uploads = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = SKTESTSKTEST .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""
RINGS = """
import sys
from swift.common.ring import RingBuilder
folder = sys.argv[1]
for name, port in (argument.split(":") for argument in sys.argv[2:]):
    builder = RingBuilder(4, 1, 0)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1", "weight": 1})
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{name}.ring.gz")
"""


class CannotStart(Exception):
    """Swift is not installed or did not come up; the text says why."""


@dataclass(frozen=True)
class Server:
    """A running Swift."""

    endpoint: str


@contextmanager
def running_swift(folder: Path) -> Iterator[Server]:
    """Swift with its data in `folder`, until the end of the block."""
    bin_folder = Path(sys.executable).parent
    if not (bin_folder / "swift-proxy-server").exists():
        raise CannotStart("the swift wheel is not installed")
    ports = dict(zip((*BACKENDS, "proxy"), _free_ports(4), strict=True))
    _write_configuration(folder, ports)
    environment = os.environ | {"SWIFT_CONF_FILE": str(folder / "swift.conf")}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        made = subprocess.run(
            [sys.executable, "-c", RINGS, str(folder), *(f"{name}:{ports[name]}" for name in BACKENDS)],
            env=environment,
            capture_output=True,
            check=False,
        )
        if made.returncode:
            raise CannotStart(f"rings: {made.stderr.decode()[-400:]}")
        for name in (*BACKENDS, "proxy"):
            with (folder / f"{name}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        [bin_folder / f"swift-{name}-server", folder / f"{name}.conf"],
                        env=environment,
                        cwd=folder,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        endpoint = f"http://127.0.0.1:{ports['proxy']}"
        _wait(endpoint, processes, folder)
        yield Server(endpoint)
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _write_configuration(folder: Path, ports: dict[str, int]) -> None:
    import pwd

    user = pwd.getpwuid(os.getuid()).pw_name
    (folder / "dev" / "d1").mkdir(parents=True)
    (folder / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = a1\nswift_hash_path_prefix = b2\n"
        "[storage-policy:0]\nname = default\ndefault = yes\n"
    )
    for name in BACKENDS:
        text = SERVER.format(name=name, port=ports[name], folder=folder, user=user)
        (folder / f"{name}.conf").write_text(text)
    (folder / "proxy.conf").write_text(PROXY.format(port=ports["proxy"], folder=folder, user=user))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait(endpoint: str, processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        for process in processes:
            if process.poll() is not None:
                logs = "".join(path.read_text(errors="replace")[-300:] for path in folder.glob("*.log"))
                raise CannotStart(f"a server ended with {process.returncode}: {logs}")
        try:
            urllib.request.urlopen(f"{endpoint}/", timeout=2)
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise CannotStart(f"no answer in {START_S:.0f} s")
