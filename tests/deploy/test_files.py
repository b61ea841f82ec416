"""Deployment files against the code they deploy: commands, variables, users, probes, privileges."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.catalog import check
from gateway.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
VARIABLES = {f"GATEWAY_{name.upper()}" for name in Settings.model_fields}
GATEWAY_SERVICES = ("migrate", "api", "worker")


def manifests() -> list[dict[str, Any]]:
    files = sorted(KUBERNETES.glob("*.yaml"))
    return [item for path in files for item in yaml.safe_load_all(path.read_text())]


def pod_specs() -> Iterator[tuple[str, dict[str, Any]]]:
    for manifest in manifests():
        if manifest["kind"] in ("Deployment", "Job"):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in manifests() if manifest["kind"] == kind]


def command_lines() -> list[tuple[str, ...]]:
    """Every `gateway ...` that a deployment file starts."""
    lines = [COMPOSE["services"][name]["command"] for name in GATEWAY_SERVICES]
    lines += [COMPOSE["services"][name]["healthcheck"]["test"][2:] for name in ("api", "worker")]
    for _, pod in pod_specs():
        for container in pod["containers"]:
            lines.append(container["args"])
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                if "exec" in container.get(probe, {}):
                    lines.append(container[probe]["exec"]["command"][1:])
    for array in re.findall(r"^\s*(?:ENTRYPOINT|CMD) (\[.*\])", DOCKERFILE, re.MULTILINE):
        line = yaml.safe_load(array)
        lines.append(line[1:] if line[0] == "gateway" else line)
    return sorted({tuple(line) for line in lines if line})


@pytest.mark.parametrize("line", command_lines(), ids=" ".join)
def test_every_command_named_in_a_deployment_exists(line):
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *[part for part in line if part[0] != "-"], "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb"},
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [part for part in line if part[0] == "-" and part not in done.stdout] == []


def test_every_variable_named_in_a_deployment_is_a_setting():
    files = [ROOT / "Dockerfile", ROOT / "docker-compose.yml", *(ROOT / "deploy").rglob("*.*")]
    named = {name for path in files for name in re.findall(r"GATEWAY_[A-Z_]+\b", path.read_text())}

    assert named - VARIABLES == set()
    assert len(named) > 5


def test_the_deployed_values_are_accepted_by_the_settings(monkeypatch, tmp_path):
    (tmp_path / "gateway.toml").write_text("")
    (config,) = [c for c in of_kind("ConfigMap") if "GATEWAY_PORT" in c["data"]]
    (secret,) = of_kind("Secret")
    composed = COMPOSE["services"]["api"]["environment"]
    for values in ({**config["data"], **secret["stringData"]}, composed):
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
        settings = load_settings()

        assert settings.host == "0.0.0.0"
        assert settings.log_format == "json"


@pytest.mark.parametrize("source", ["example", "kubernetes"])
def test_the_example_catalogue_is_accepted(tmp_path, source):
    if source == "example":
        text = (ROOT / "deploy" / "gateway.example.toml").read_text()
    else:
        (config,) = [c for c in of_kind("ConfigMap") if "gateway.toml" in c["data"]]
        text = config["data"]["gateway.toml"]
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    keys = re.findall(r'"env:(\w+)"', text)

    report = check(path, dict.fromkeys(keys, "a-key"))

    assert report.problems == ()
    assert keys


@pytest.mark.parametrize("pod", [pytest.param(pod, id=name) for name, pod in pod_specs()])
def test_a_pod_has_no_privilege_it_does_not_need(pod):
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_the_image_user_is_the_one_the_pods_run_as():
    assert "USER 10001:10001" in DOCKERFILE
    assert "useradd --uid 10001" in DOCKERFILE


def test_probes_ask_the_routes_that_answer_for_health():
    (api,) = [pod for name, pod in pod_specs() if name == "image-gateway-api"]
    (container,) = api["containers"]
    probes = {kind: container[kind]["httpGet"]["path"] for kind in container if "Probe" in kind}

    assert probes == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }


def test_every_stop_leaves_more_than_the_ten_seconds_of_the_drain():
    for name in GATEWAY_SERVICES:
        assert COMPOSE["services"][name]["stop_grace_period"] == "15s"
    for name, pod in pod_specs():
        if not name.endswith("migrate"):
            (container,) = pod["containers"]
            before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
            assert pod["terminationGracePeriodSeconds"] >= before.get("seconds", 0) + 15


def test_selectors_find_the_pods_they_are_meant_for():
    labels = {
        manifest["metadata"]["name"]: manifest["spec"]["template"]["metadata"]["labels"]
        for manifest in of_kind("Deployment")
    }
    for manifest in of_kind("PodDisruptionBudget"):
        wanted = manifest["spec"]["selector"]["matchLabels"]
        assert wanted == labels[manifest["metadata"]["name"]]
    for manifest in of_kind("Deployment"):
        assert manifest["spec"]["selector"]["matchLabels"] == labels[manifest["metadata"]["name"]]
    (service,) = of_kind("Service")
    assert service["spec"]["selector"] == labels["image-gateway-api"]
    (policy,) = of_kind("NetworkPolicy")
    wanted = policy["spec"]["podSelector"]["matchLabels"].items()
    assert all(wanted <= found.items() for found in labels.values())


def test_the_kustomization_names_every_manifest_but_the_example():
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    files = {path.name for path in KUBERNETES.glob("*.yaml")}

    assert set(kustomization["resources"]) == files - {"kustomization.yaml", "secret.example.yaml"}
    names = {manifest["metadata"]["name"] for manifest in manifests() if "metadata" in manifest}
    for _, pod in pod_specs():
        for source in pod["containers"][0]["envFrom"]:
            assert source.popitem()[1]["name"] in names


def test_api_and_worker_wait_for_the_migration_and_healthy_engines():
    services = COMPOSE["services"]
    for name in ("api", "worker"):
        waits = {other: how["condition"] for other, how in services[name]["depends_on"].items()}
        assert waits == {
            "migrate": "service_completed_successfully",
            "postgres": "service_healthy",
            "valkey": "service_healthy",
        }
    assert "test" in services["postgres"]["healthcheck"]
    assert "test" in services["valkey"]["healthcheck"]


@pytest.mark.parametrize("name", GATEWAY_SERVICES)
def test_a_composed_container_has_no_privilege_it_does_not_need(name):
    service = COMPOSE["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_composed_engines_are_not_reachable_from_outside_and_have_no_default_password():
    for name in ("postgres", "valkey"):
        assert "ports" not in COMPOSE["services"][name]
    password = COMPOSE["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert password.startswith("${POSTGRES_PASSWORD:?")


def test_the_image_copies_only_what_the_build_context_lets_through():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }

    assert "*" in ignored
    assert copied == allowed
    assert [name for name in sorted(copied) if not (ROOT / name).exists()] == []


def test_the_wheel_carries_every_data_file(tmp_path):
    source = tmp_path / "source"
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "-z",
            "gateway",
            "migrations",
            "pyproject.toml",
            "README.md",
            "LICENSE",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    tracked = [name for name in listed.split("\0") if name and (ROOT / name).exists()]
    if not tracked:
        pytest.skip("not a git checkout")
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
         "--no-index", "--wheel-dir", tmp_path, source],
        check=True,
        capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")

    packed = set(zipfile.ZipFile(wheel).namelist())

    wanted = {name for name in tracked if name.startswith(("gateway/", "migrations/"))}
    assert wanted - packed == set()


def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())

    assert kustomization["images"][0]["newTag"] == version
    assert COMPOSE["services"]["api"]["image"] == f"image-gateway:{version}"
