"""The clusters of examples/cluster and the commands of docs/cluster.md: they are what their readers take them for."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from pipelines.recipe import load_recipe
from tests.conftest import ROOT

FOLDER = ROOT / "examples" / "cluster"
FILES = ("cluster.yaml", "rayjob.yaml", "raycluster.yaml")


def loaded(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / name).read_text()))


def spot(group: dict[str, Any]) -> bool:
    """Tell whether a group of pods is on nodes that may be taken away."""
    pod = group["template"]["spec"]
    keys = {toleration["key"] for toleration in pod.get("tolerations", ())}
    return bool(keys) and keys <= set(pod["nodeSelector"])


def has_gpu(group: dict[str, Any]) -> bool:
    """Tell whether a group's pods have a GPU."""
    (container,) = group["template"]["spec"]["containers"]
    return "nvidia.com/gpu" in container["resources"]["limits"]


def in_shell() -> str:
    """Return what the entrypoint of the job gives to its shell."""
    shell, option, text = shlex.split(loaded("rayjob.yaml")["spec"]["entrypoint"])
    assert (shell, option) == ("sh", "-c")
    return text


def commands() -> list[tuple[str, list[str]]]:
    """Return every command that runs a recipe, with where it stands."""
    found = []
    for path in (*(FOLDER / name for name in FILES), ROOT / "docs" / "cluster.md"):
        text = path.read_text().replace("\\\n#", " ")
        if path.name == "rayjob.yaml":
            text = in_shell().partition(" || ")[0]
        for line in text.splitlines():
            line = line.lstrip("# ").split("   #")[0]
            if match := re.match(r"(?:.* -- +)?(?:speechmill|python -m pipelines) run (.*)", line):
                found.append((path.name, shlex.split(match[1])))
    return found


def test_every_file_is_known() -> None:
    assert sorted(path.name for path in FOLDER.glob("*.yaml")) == sorted(FILES)
    assert {place for place, _ in commands()} == {*FILES, "cluster.md"}


@pytest.mark.parametrize(("place", "arguments"), commands())
def test_the_recipes_that_commands_run_are_there(place: str, arguments: list[str], tmp_path: Path) -> None:
    recipe, *options = arguments
    pairs = list(zip(options[::2], options[1::2], strict=True))
    assert {name for name, _ in pairs} <= {"--address", "--run-dir", "--set", "--workers"}
    changes = [value for name, value in pairs if name == "--set"]
    assert load_recipe(ROOT / recipe, changes, str(tmp_path)).name  # elsewhere: a store would be asked


def test_both_ways_to_kuberay_describe_one_cluster() -> None:
    spec = loaded("raycluster.yaml")["spec"]
    assert spec == loaded("rayjob.yaml")["spec"]["rayClusterSpec"]
    (pinned,) = re.findall(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert spec["rayVersion"] == pinned == ray.__version__
    assert not spot(spec["headGroupSpec"])
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in spec["workerGroupSpecs"]:
        assert spot(group)
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
    assert [has_gpu(group) for group in spec["workerGroupSpecs"]] == [False, True]


def test_rays_launcher_takes_the_cluster_of_machines() -> None:
    cluster = loaded("cluster.yaml")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    types = cluster["available_node_types"]
    head = types.pop(cluster["head_node_type"])
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert all(one["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"} for one in types.values())
    assert sum(one["max_workers"] for one in types.values()) == cluster["max_workers"]


def test_all_nodes_have_one_image_and_it_has_every_package() -> None:
    images = {match for name in FILES for match in re.findall(r"image: (\S+)", (FOLDER / name).read_text())}
    dockerfile = (FOLDER / "Dockerfile").read_text()
    (image,) = images
    assert f"-t {image} " in dockerfile
    settings = (ROOT / "pyproject.toml").read_text()
    (packages,) = re.findall(r"^packages = \[(.*)\]$", settings.partition("[tool.setuptools]")[2], re.MULTILINE)[:1]
    rooms = {name.strip().strip('"').partition(".")[0] for name in packages.split(",")}
    assert {f"COPY {room} {room}" for room in rooms} <= set(dockerfile.splitlines())
    (extras,) = re.findall(r"'\.\[(.*)\]'", dockerfile)
    assert all(re.search(rf"^{extra} = ", settings, re.MULTILINE) for extra in extras.split(","))
