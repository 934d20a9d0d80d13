"""ray-cluster.yaml and deploy/kuberay.yaml: accepted by Ray offline, and in step with what the code computes."""

from __future__ import annotations

import copy
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from fakes.gpu import PROOF

from cluster.gpu_slots import node_resources
from encoders.backends.proof import DeviceProof, GpuProbe

ROOT = Path(__file__).resolve().parents[3]
L4 = replace(PROOF.devices[0], name="NVIDIA L4", sessions=32)
H100 = DeviceProof(
    index=0,
    uuid="GPU-h100",
    name="NVIDIA H100",
    architecture="9.0",
    memory_bytes=80 << 30,
    decodes=("h264/8/420",),
    decode_engines=7,
    encode_reason="no engine",
    lane_fps=600.0,
)
CAPABILITIES = "video,compute,utility"


@pytest.fixture
def config() -> Any:
    return yaml.safe_load((ROOT / "ray-cluster.yaml").read_text())


@pytest.fixture
def manifest() -> Any:
    return yaml.safe_load((ROOT / "deploy" / "kuberay.yaml").read_text())


def accept(config: dict[str, Any]) -> dict[str, Any]:
    """Ray's own validation, as `ray up` runs it first; reads no network."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def test_ray_accepts_the_cluster_file(config: dict[str, Any]) -> None:
    prepared = accept(config)

    assert set(prepared["available_node_types"]) == {"head", "cpu", "gpu_nvenc", "gpu_nvdec"}
    assert prepared["head_node_type"] == "head"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda config: config.update(unknown=1),
        lambda config: config["provider"].pop("type"),
        lambda config: config.update(head_node_type="nowhere"),
        lambda config: config["available_node_types"]["gpu_nvenc"]["resources"].update(nvenc_units="3"),
    ],
)
def test_ray_s_validation_would_notice(config: dict[str, Any], spoil: Callable[[Any], Any]) -> None:
    spoil(config)
    with pytest.raises(Exception):  # noqa: B017 - Ray raises several unrelated classes
        accept(config)


def test_every_type_of_worker_has_autoscaling_limits(config: dict[str, Any]) -> None:
    workers = {name: kind for name, kind in config["available_node_types"].items() if name != "head"}

    assert all(0 <= kind["min_workers"] <= kind["max_workers"] for kind in workers.values())
    assert sum(kind["max_workers"] for kind in workers.values()) <= config["max_workers"]
    assert config["available_node_types"]["head"]["resources"]["CPU"] == 0, "nothing is encoded on the head"


def test_containers_see_the_video_libraries_and_ray_is_closed_and_silent(config: dict[str, Any]) -> None:
    options = " ".join(config["docker"]["run_options"])

    assert f"NVIDIA_DRIVER_CAPABILITIES={CAPABILITIES}" in options
    assert "RAY_AUTH_MODE=token" in options
    assert "RAY_USAGE_STATS_ENABLED=0" in options
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        (start,) = [line for line in config[commands] if "ray start" in line]
        assert "--disable-usage-stats" in start
        assert "RAY_AUTH_MODE=token" in start
    assert "--dashboard-host=127.0.0.1" in " ".join(config["head_start_ray_commands"])


@pytest.mark.parametrize(
    ("kind", "group", "device", "cores"), [("gpu_nvenc", "gpu-nvenc", L4, 8), ("gpu_nvdec", "gpu-nvdec", H100, 16)]
)
def test_declared_resources_are_what_such_a_node_proves(
    config: dict[str, Any], manifest: dict[str, Any], kind: str, group: str, device: DeviceProof, cores: int
) -> None:
    wanted = node_resources(GpuProbe(devices=(device,), cpu_lane_fps=100.0), cores)

    declared = config["available_node_types"][kind]["resources"]
    assert declared == {"CPU": cores, "GPU": 1, **wanted}
    (workers,) = [each for each in manifest["spec"]["workerGroupSpecs"] if each["groupName"] == group]
    assert {name: float(value) for name, value in workers["resources"].items()} == wanted


GROUP_FIELDS = {
    "groupName",
    "replicas",
    "minReplicas",
    "maxReplicas",
    "labels",
    "resources",
    "rayStartParams",
    "template",
    "idleTimeoutSeconds",
}
"""Of a worker group that are used here. Source: KubeRay, ray.io/v1, RayCluster."""


def test_the_manifest_s_groups_use_known_fields_and_have_limits(manifest: dict[str, Any]) -> None:
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayCluster")
    assert manifest["spec"]["authOptions"] == {"mode": "token"}
    assert manifest["spec"]["enableInTreeAutoscaling"] is True
    for group in manifest["spec"]["workerGroupSpecs"]:
        assert set(group) <= GROUP_FIELDS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert group["rayStartParams"]["disable-usage-stats"] == "true"


def refuse_unknown_fields(schema: Any) -> None:
    """In place: what Kubernetes' own dialect adds becomes JSON Schema, and fields that the schema lacks are errors."""
    if isinstance(schema, list):
        for each in schema:
            refuse_unknown_fields(each)
    elif isinstance(schema, dict):
        if schema.get("x-kubernetes-int-or-string"):
            schema.pop("anyOf", None)
            schema.pop("pattern", None)
            schema["type"] = ["integer", "string"]
        closed = "properties" in schema and "additionalProperties" not in schema
        if schema.get("type") == "object" and closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema["additionalProperties"] = False
        for each in schema.values():
            refuse_unknown_fields(each)


@pytest.mark.skipif(
    "REELMILL_KUBERAY_CRD" not in os.environ,
    reason="REELMILL_KUBERAY_CRD names no file: KubeRay's ray.io_rayclusters.yaml (a megabyte, not kept here)",
)
def test_kuberay_s_own_schema_accepts_the_manifest(manifest: dict[str, Any]) -> None:
    definition = yaml.safe_load(Path(os.environ["REELMILL_KUBERAY_CRD"]).read_text())
    (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
    schema = version["schema"]["openAPIV3Schema"]
    refuse_unknown_fields(schema)
    schema["properties"]["metadata"] = {"type": "object"}
    checker = jsonschema.Draft202012Validator(schema)
    assert [error.message for error in checker.iter_errors(manifest)] == []
    manifest["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["imagge"] = "typo"
    assert [error.message for error in checker.iter_errors(manifest)], "the check can fail"


def test_the_manifest_s_gpu_containers_see_the_video_libraries(manifest: dict[str, Any]) -> None:
    groups = [group for group in manifest["spec"]["workerGroupSpecs"] if group["groupName"].startswith("gpu")]

    assert len(groups) == 2
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        assert environment["NVIDIA_DRIVER_CAPABILITIES"] == CAPABILITIES
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert "cluster.gpu_slots" in container["args"][0]


def test_ray_s_version_is_the_one_that_is_installed(manifest: dict[str, Any]) -> None:
    import ray

    assert manifest["spec"]["rayVersion"] == ray.__version__


def dockerfile() -> list[tuple[str, str]]:
    """Instructions of deploy/Dockerfile: (name, rest), continued lines joined."""
    text = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def test_the_image_is_built_of_what_the_checkout_holds() -> None:
    steps = dockerfile()
    assert steps[0] == ("FROM", "python:3.11-slim")
    assert {name for name, _ in steps} <= {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "CMD"}
    copied = {source for name, rest in steps if name == "COPY" for source in rest.split()[:-1]}
    assert all((ROOT / source).exists() for source in copied)
    packages = {each.split(".")[0] for each in project()["tool"]["setuptools"]["packages"]}
    assert packages <= copied, "every package of the project is in the image"


def test_the_image_shows_the_video_libraries_and_pins_what_the_extras_pin() -> None:
    text = " ".join(rest for _, rest in dockerfile())
    assert f"NVIDIA_DRIVER_CAPABILITIES={CAPABILITIES}" in text
    for extra in ("gpu-cu12", "gpu-cu13"):
        (branch,) = re.findall(rf'"\$GPU" = {extra} \]; then pip install --no-cache-dir (.*?); fi', text)
        wanted = [each.replace("'", "") for each in branch.split()]
        assert wanted == project()["project"]["optional-dependencies"][extra]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())
