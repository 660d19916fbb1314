"""The manifests are valid for Kubernetes and agree with the service, its image and each other."""

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.app import create_app
from service.observe.metrics import CATALOGUE, Metrics
from service.settings import PREFIX, Settings, load_settings, unknown_variables
from service.store.postgres.database import CONNECTIONS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
README = (FOLDER / "README.md").read_text()

Manifest = dict[str, Any]


def read(name: str) -> Manifest:
    manifest: Manifest = yaml.safe_load((FOLDER / name).read_text())
    return manifest


KUSTOMIZATIONS = {name: read(f"{name}/kustomization.yaml") for name in ("base", "gpu")}
FILES = KUSTOMIZATIONS["base"]["resources"]
MANIFESTS = {manifest["kind"]: manifest for manifest in (read(f"base/{name}") for name in FILES)}
DEPLOYMENT = MANIFESTS["Deployment"]["spec"]
LABELS = DEPLOYMENT["template"]["metadata"]["labels"]
POD = DEPLOYMENT["template"]["spec"]
CONTAINER = POD["containers"][0]
AUTOSCALER = MANIFESTS["HorizontalPodAutoscaler"]["spec"]
POLICY = MANIFESTS["NetworkPolicy"]["spec"]
# The oldest that the README promises, and the newest whose schemas are here.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
KUBECTL = shutil.which("kubectl")
# PostgreSQL's own limit, less what it keeps for its administrator.
DATABASE_CONNECTIONS = 100 - 3


def variables(*kustomizations: str) -> dict[str, str]:
    """Return the settings that the configuration maps of kustomizations hold."""
    maps = [map_ for name in kustomizations for map_ in KUSTOMIZATIONS[name]["configMapGenerator"]]
    return dict(literal.split("=", 1) for map_ in maps for literal in map_["literals"])


def from_elsewhere() -> dict[str, Manifest]:
    """Return the variables of the container whose values are in no file, and whence they come."""
    env = [variable for variable in CONTAINER["env"] if "valueFrom" in variable]
    return {variable["name"]: variable["valueFrom"] for variable in env}


def fixed(namespace: str) -> dict[str, str]:
    """Return the variables of the container whose values are in the manifest."""
    env = [variable for variable in CONTAINER["env"] if "value" in variable]
    return {each["name"]: each["value"].replace("$(NAMESPACE)", namespace) for each in env}


def metrics_asked_for() -> list[str]:
    return [metric["pods"]["metric"]["name"] for metric in AUTOSCALER["metrics"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_manifest_is_valid(kind: str, version: str) -> None:
    assert kubernetes_validate.validate(MANIFESTS[kind], version, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_noticed() -> None:
    wrong = MANIFESTS["Service"] | {"replicas": 2}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.skipif(KUBECTL is None, reason="there is no kubectl to render kustomizations with")
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_what_is_applied_is_valid(name: str) -> None:
    command = ["kubectl", "kustomize", str(FOLDER / name)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    manifests = list(yaml.safe_load_all(rendered))
    assert {manifest["kind"] for manifest in manifests} == {*MANIFESTS, "ConfigMap"}
    for manifest in manifests:
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_every_manifest_is_applied() -> None:
    there = {path.name for path in (FOLDER / "base").iterdir()}
    assert {*FILES, "kustomization.yaml"} == there


@pytest.mark.parametrize("names", [("base",), ("base", "gpu")])
def test_the_service_starts_with_these_settings(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = dict(re.findall(rf"^ +({PREFIX}\w+)=(\S+)", DOCKERFILE, re.MULTILINE))
    ours = [name for name in from_elsewhere() if name.startswith(PREFIX)]
    given = image | dict.fromkeys(ours, "2") | fixed("faces") | variables(*names)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.without_keys
    service = MANIFESTS["Service"]["metadata"]["name"]
    called = (service, f"{service}.faces", f"{service}.faces.svc.cluster.local")
    assert set(called) <= set(settings.allowed_hosts)
    # Kubernetes puts in only what it has seen by then.
    order = [variable["name"] for variable in CONTAINER["env"]]
    assert order.index("NAMESPACE") < order.index("LIKENESS_ALLOWED_HOSTS")
    assert settings.port == CONTAINER["ports"][0]["containerPort"]


def test_variables_that_services_inject_would_stop_the_start() -> None:
    name = MANIFESTS["Service"]["metadata"]["name"].upper()
    assert unknown_variables({f"{name}_SERVICE_HOST": "10.0.0.1"}) != []
    assert POD["enableServiceLinks"] is False


def test_the_grace_period_is_longer_than_sleep_and_drain() -> None:
    sleep = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = Settings(drain_s=float(variables("base")["LIKENESS_DRAIN_S"])).drain_s
    assert POD["terminationGracePeriodSeconds"] > sleep + drain


def test_every_selector_finds_the_pods() -> None:
    spread = POD["topologySpreadConstraints"]
    selectors = [
        DEPLOYMENT["selector"]["matchLabels"],
        MANIFESTS["Service"]["spec"]["selector"],
        MANIFESTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        POLICY["podSelector"]["matchLabels"],
        *(constraint["labelSelector"]["matchLabels"] for constraint in spread),
    ]
    assert [selector for selector in selectors if not selector.items() <= LABELS.items()] == []


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_a_probe_asks_a_route_on_the_services_port(probe: str) -> None:
    asked = CONTAINER[probe]["httpGet"]
    assert asked["path"] in create_app(Settings()).openapi()["paths"]
    assert asked["port"] == CONTAINER["ports"][0]["name"]


def test_only_readiness_depends_on_the_store() -> None:
    paths = [CONTAINER[f"{kind}Probe"]["httpGet"]["path"] for kind in ("readiness", "liveness")]
    assert paths == ["/readyz", "/livez"]


def test_the_autoscaler_scales_the_deployment() -> None:
    target = AUTOSCALER["scaleTargetRef"]
    deployment = MANIFESTS["Deployment"]
    assert target == {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        "name": deployment["metadata"]["name"],
    }
    assert "replicas" not in DEPLOYMENT


def test_the_autoscaler_asks_for_gauges_that_the_service_exports() -> None:
    exported = re.findall(r"^# TYPE (\w+) gauge$", Metrics().render().decode(), re.MULTILINE)
    assert set(metrics_asked_for()) <= set(exported)


def test_the_adapter_gives_the_metrics_that_the_autoscaler_asks_for() -> None:
    (rule,) = read("prometheus-adapter.yaml")["rules"]["custom"]
    named = re.search(r'__name__=~"([^"]+)"', rule["seriesQuery"])
    assert named is not None
    assert [name for name in CATALOGUE if re.search(named[1], name)] == sorted(metrics_asked_for())


def test_prometheus_is_shown_the_metrics() -> None:
    shown = DEPLOYMENT["template"]["metadata"]["annotations"]
    assert shown["prometheus.io/path"] in create_app(Settings()).openapi()["paths"]
    assert shown["prometheus.io/port"] == str(CONTAINER["ports"][0]["containerPort"])


def test_the_database_has_connections_for_every_replica() -> None:
    replicas = AUTOSCALER["maxReplicas"] + DEPLOYMENT["strategy"]["rollingUpdate"]["maxSurge"]
    assert replicas * (CONNECTIONS + 1) <= DATABASE_CONNECTIONS


def test_one_replica_at_least_is_always_left() -> None:
    assert DEPLOYMENT["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = MANIFESTS["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    assert AUTOSCALER["minReplicas"] > budget


def test_the_address_of_the_store_comes_from_a_secret() -> None:
    assert set(from_elsewhere()["LIKENESS_STORE"]) == {"secretKeyRef"}


def test_no_secret_is_in_a_manifest() -> None:
    text = "\n".join(path.read_text() for path in FOLDER.rglob("*.yaml"))
    assert re.findall(r"kind: Secret\b|secretGenerator|stringData|postgres(?:ql)?://", text) == []


def test_the_pods_have_no_token() -> None:
    assert POD["automountServiceAccountToken"] is False
    account = MANIFESTS["ServiceAccount"]
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"]["name"] == POD["serviceAccountName"]


def test_the_pods_run_as_the_user_of_the_image() -> None:
    user = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)[-1]
    assert (POD["securityContext"]["runAsNonRoot"], POD["securityContext"]["runAsUser"]) == (
        True,
        int(user),
    )


def test_the_container_can_write_to_its_volume_alone() -> None:
    context = CONTAINER["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert (context["allowPrivilegeEscalation"], context["capabilities"]) == (
        False,
        {"drop": ["ALL"]},
    )
    mounted = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert mounted == {"tmp": "/tmp"}
    assert [volume["name"] for volume in POD["volumes"]] == ["tmp"]


def test_threads_are_as_many_as_the_cores_that_the_container_gets() -> None:
    counted = [from_elsewhere()[name] for name in ("LIKENESS_DECODE_THREADS", "OMP_NUM_THREADS")]
    assert counted == [{"resourceFieldRef": {"resource": "limits.cpu"}}] * 2
    assert CONTAINER["resources"]["limits"]["cpu"] == CONTAINER["resources"]["requests"]["cpu"]


def test_only_dns_and_postgresql_are_let_out() -> None:
    assert {"Ingress", "Egress"} == set(POLICY["policyTypes"])
    ports = [port for rule in POLICY["egress"] for port in rule["ports"]]
    assert {(port["protocol"], port["port"]) for port in ports} == {
        ("UDP", 53),
        ("TCP", 53),
        ("TCP", 5432),
    }


def test_only_who_is_named_is_let_in() -> None:
    (rule,) = POLICY["ingress"]
    assert rule["ports"] == [{"port": CONTAINER["ports"][0]["name"], "protocol": "TCP"}]
    assert [peer for peer in rule["from"] if not peer["podSelector"].get("matchLabels")] == []


def test_the_service_leads_to_the_containers_port() -> None:
    ports = MANIFESTS["Service"]["spec"]["ports"]
    assert [port["targetPort"] for port in ports] == [CONTAINER["ports"][0]["name"]]


def test_every_file_and_variable_that_the_readme_names_exists() -> None:
    files = re.findall(r"`(?:deploy/kubernetes/)?([\w/-]+\.yaml)`", README)
    there = {path.name for path in FOLDER.rglob("*.yaml")}
    assert [name for name in files if Path(name).name not in there] == []
    assert unknown_variables(dict.fromkeys(re.findall(rf"{PREFIX}\w+", README), "")) == []


def test_patch_that_seals_templates_fits_the_deployment() -> None:
    patch = next(
        block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "master" in block
    )
    operations = yaml.safe_load(yaml.safe_load(patch)["patches"][0]["patch"])
    deployment = copy.deepcopy(MANIFESTS["Deployment"])
    for operation in operations:
        where: Any = deployment
        for step in operation["path"].removesuffix("/-").strip("/").split("/"):
            where = where[int(step) if step.isdecimal() else step]
        where.append(operation["value"])
    kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)
    variable = deployment["spec"]["template"]["spec"]["containers"][0]["env"][-1]
    assert not unknown_variables({variable["name"]: variable["value"]})
