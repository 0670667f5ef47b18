"""The files of deploy/ are valid for the programs that read them.

SkyPilot and Prefect's workers for Docker and Kubernetes are no dependencies of the project. To have their own validation look at
the files:

    uv venv /tmp/deploy && uv pip install --python /tmp/deploy/bin/python skypilot prefect-docker prefect-kubernetes
    DEPLOY_PYTHON=/tmp/deploy/bin/python pytest tests/test_deploy.py
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import jsonschema
import pytest
import yaml

from stock_llm.settings import load_settings

PROJECT = Path(__file__).parents[1]
DEPLOY = PROJECT / "deploy"
TEMPLATES = ["docker", "kubernetes"]

SKYPILOT = """
import json, sys, sky
task = sky.Task.from_yaml(sys.argv[1])
task.validate()
print(json.dumps({
    "resources": sorted(
        (str(resources.cloud), *resources.accelerators) for resources in task.resources
    ),
    "mounts": task.file_mounts,
    "workdir": task.workdir,
}))
"""

RENTED = {
    "runpod": ["A100-80GB", "L4", "RTX4090", "RTXA5000"],
    "vast": ["A100", "RTX3090", "RTX4090"],
    "lambda": ["A10", "A100"],
}
"""What the clouds call their GPUs in SkyPilot's catalogue (skypilot-catalog, catalogs/v8, November 2026), as far as the task asks
for them. SkyPilot would download the whole of it, with prices."""

WORKERS = {
    "docker": """
import asyncio, json, sys
from prefect_docker.worker import DockerWorkerJobConfiguration as Configuration
made = asyncio.run(Configuration.from_template_and_values(json.load(open(sys.argv[1])), json.loads(sys.argv[2]), client=object()))
import docker.types
for request in made.container_create_kwargs["device_requests"]:
    docker.types.DeviceRequest(**request)
print(made.model_dump_json())
""",
    "kubernetes": """
import asyncio, json, sys
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration as Configuration
made = asyncio.run(Configuration.from_template_and_values(json.load(open(sys.argv[1])), json.loads(sys.argv[2]), client=object()))
print(made.model_dump_json())
""",
}


def validated(library: str, code: str, *arguments: str, folder: Path = PROJECT):
    """What a program says of a file, in an interpreter that has it; its own files lie in `folder`."""
    python = os.environ.get("DEPLOY_PYTHON", sys.executable)
    done = subprocess.run(
        [python, "-c", code, *arguments], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"SKY_RUNTIME_DIR": str(folder)},
    )  # fmt: skip
    if f"No module named '{library}'" in done.stderr:
        pytest.skip(
            f"{library} is not installed; tests/test_deploy.py says how to name one that is"
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def skypilot_task() -> dict:
    return yaml.safe_load((DEPLOY / "skypilot.yaml").read_text())


def test_skypilot_accepts_the_task(tmp_path):
    task = skypilot_task()
    for source in task["file_mounts"].values():
        (tmp_path / source).parent.mkdir(exist_ok=True)
        (tmp_path / source).touch()
    write_catalogue(tmp_path / ".sky/catalogs/v8")
    found = validated("sky", SKYPILOT, str(DEPLOY / "skypilot.yaml"), folder=tmp_path)
    names = {"RunPod": "runpod", "Vast": "vast", "Lambda": "lambda"}
    assert [(names[cloud], gpu) for cloud, gpu in found["resources"]] == [
        (cloud, gpu) for cloud in ("lambda", "runpod", "vast") for gpu in RENTED[cloud]
    ]
    assert found["workdir"] is None and len(found["mounts"]) == 2


def write_catalogue(folder: Path) -> None:
    """A catalogue in SkyPilot's columns of one machine for each GPU."""
    gpus = sorted({gpu for rented in RENTED.values() for gpu in rented})
    (folder / "common").mkdir(parents=True)
    lines = [
        f'{gpu},"{[cloud for cloud, rented in RENTED.items() if gpu in rented]}"' for gpu in gpus
    ]
    (folder / "common/accelerators.csv").write_text("\n".join(["AcceleratorName,Clouds", *lines]))
    columns = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Region,SpotPrice,Price,AvailabilityZone,GpuInfo"
    for cloud, rented in RENTED.items():
        (folder / cloud).mkdir()
        machines = [f"1x_{gpu},{gpu},1.0,8.0,64.0,US,0.5,1.0,US-1," for gpu in rented]
        (folder / cloud / "vms.csv").write_text("\n".join([columns, *machines]) + "\n")


def test_two_files_leave_the_machine():
    task = skypilot_task()
    assert "workdir" not in task, "it would copy the project folder, trades included"
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    wheel = f"stock_llm-{version}-py3-none-any.whl"
    assert task["file_mounts"] == {
        "~/bundle/finetune.zip": "finetune.zip",
        f"~/bundle/{wheel}": f"dist/{wheel}",
    }
    assert task["envs"]["WHEEL"] == wheel and task["envs"]["BUNDLE"] == "finetune.zip"
    assert task["secrets"] == {"HF_TOKEN": ""}
    assert task["config"]["vast"]["datacenter_only"], "no machines in somebody's home"


def test_the_task_installs_the_versions_that_the_bundle_names(tmp_path):
    manifest = {"content": {"inputs": {"libraries": {"torch": "2.15.0+cpu", "trl": "1.16.0"}}}}
    with zipfile.ZipFile(tmp_path / "finetune.zip", "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
    setup = skypilot_task()["setup"]
    (program,) = re.findall(r"<<'PYTHON'\n(.*?)\nPYTHON\n", setup, re.S)
    done = subprocess.run(
        [sys.executable, "-", "finetune.zip"], input=program, cwd=tmp_path, capture_output=True, text=True
    )  # fmt: skip
    assert done.stdout.splitlines() == ["torch==2.15.0", "trl==1.16.0"], done.stderr
    subprocess.run(["bash", "-n"], input=setup + skypilot_task()["run"], text=True, check=True)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_declares_what_it_uses(name):
    template = json.loads((DEPLOY / f"work-pool-{name}.json").read_text())
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(template["job_configuration"])))
    schema = template["variables"]
    assert used == set(schema["properties"])
    jsonschema.Draft202012Validator.check_schema(schema)
    defaults = {
        key: value["default"] for key, value in schema["properties"].items() if "default" in value
    }
    required = dict.fromkeys(schema["required"], "/home/me/trading")
    jsonschema.validate(defaults | required, schema)
    assert "privileged" not in json.dumps(template)


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_worker_of_prefect_accepts_its_template(name):
    file = DEPLOY / f"work-pool-{name}.json"
    given = {"project": "/home/me/trading", "env": {"OLLAMA_HOST": "http://ollama:11434"}}
    if name == "docker":
        given |= {"secrets": "/home/me/.config/stock-llm", "gpus": ["0", "1"]}
    made = validated(f"prefect_{name}", WORKERS[name], str(file), json.dumps(given))
    assert made["env"]["OLLAMA_HOST"] == "http://ollama:11434" and made["env"]["HOME"] == "/tmp"
    if name == "docker":
        assert made["volumes"] == [
            "/home/me/trading:/home/me/trading",
            "/home/me/.config/stock-llm:/secrets",
        ]
        (request,) = made["container_create_kwargs"]["device_requests"]
        assert request["DeviceIDs"] == ["0", "1"]
        return
    pod = made["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["volumeMounts"][0]["mountPath"] == "/home/me/trading"
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }


def test_accelerate_reads_the_config_of_fsdp_as_it_is_meant(monkeypatch):
    """FSDP itself needs GPUs (accelerate has none of it on the CPU): its settings are checked, not its work."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_multi_gpu_env
    from torch.distributed.fsdp import ShardingStrategy, StateDictType

    from stock_llm.llm.base import is_sharded

    file = str(DEPLOY / "accelerate-fsdp.yaml")
    assert load_config_from_file(file).distributed_type == "FSDP"
    arguments = launch_command_parser().parse_args(
        ["--config_file", file, "--num_processes", "4", "--no_python", "stock-llm", "finetune", "b.zip"]
    )  # fmt: skip
    launched, _, _ = _validate_launch_command(arguments)
    assert launched.num_processes == 4 and launched.no_python
    assert not is_sharded()
    for name, value in prepare_multi_gpu_env(launched).items():
        monkeypatch.setenv(name, value)
    assert is_sharded(), "the base would be stored as integers, which FSDP does not shard"
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "bf16"
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 1
    assert plugin.sharding_strategy == ShardingStrategy.FULL_SHARD
    assert plugin.state_dict_type == StateDictType.FULL_STATE_DICT
    assert not plugin.use_orig_params and not plugin.cpu_ram_efficient_loading
    assert not plugin.sync_module_states


def test_systemd_accepts_the_unit(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    unit = (DEPLOY / "stock-llm.service").read_text()
    assert "ExecStart=%h/trading/.venv/bin/stock-llm up\n" in unit
    file = tmp_path / "stock-llm.service"
    file.write_text(unit.replace("%h/trading/.venv/bin/stock-llm", "/bin/true").replace("%h/", "/"))
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(file)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_the_containers_stay_on_this_machine_and_have_a_database_each(monkeypatch):
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = composed["services"]
    assert all(service["network_mode"] == "host" for service in services.values())
    assert "listen_addresses=127.0.0.1" in services["postgres"]["command"]
    for name, value in services["stock-llm"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    databases = [settings.services.prefect_database, settings.mlflow_uri, settings.feedback_url]
    names = [url.rpartition("127.0.0.1/")[2] for url in databases]
    assert names == ["prefect", "mlflow", "stock_llm"]
    made = composed["configs"]["databases"]["content"]
    assert all(f"CREATE DATABASE {name};" in made for name in names[:2])
    assert services["postgres"]["environment"]["POSTGRES_USER"] == names[2]
    assert "." in [volume.partition(":")[0] for volume in services["stock-llm"]["volumes"]]
    (command,) = re.findall(r"docker compose .*", (DEPLOY / "compose.yaml").read_text())
    assert "--project-directory . " in command, "else `.` is deploy/, not the project folder"
