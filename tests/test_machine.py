"""What a process may use: the machine's free memory, or less where its control group allows less."""

import subprocess

import psutil
import pytest

from stock_llm import machine

GIB = 1 << 30


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A function that lays out control groups: what /proc/self/cgroup says, and the files of folders below /sys/fs/cgroup."""

    def lay_out(own: str, files: dict[str, dict[str, object]]) -> None:
        (tmp_path / "cgroup").write_text(own)
        for folder, contents in files.items():
            (tmp_path / "fs" / folder).mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                (tmp_path / "fs" / folder / name).write_text(f"{content}\n")

    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: type("Memory", (), {"available": 20 * GIB})
    )
    return lay_out


def test_without_limits_it_is_what_the_machine_has_free(groups):
    groups("0::/user.slice\n", {"user.slice": {"memory.max": "max", "memory.current": GIB, "memory.stat": "anon 5"}})  # fmt: skip
    assert machine.available_memory() == 20 * GIB


def test_a_limit_of_a_group_or_of_one_around_it_counts_and_pages_of_files_do_not(groups):
    stat = f"anon {2 * GIB}\ninactive_file {GIB}"
    groups(
        "0::/system.slice/train.service\n",
        {
            "system.slice": {"memory.max": 8 * GIB, "memory.current": 3 * GIB, "memory.stat": stat},
            "system.slice/train.service": {"memory.max": "max", "memory.current": GIB, "memory.stat": stat},
        },
    )  # fmt: skip
    assert machine.available_memory() == 8 * GIB - 3 * GIB + GIB


def test_in_a_container_the_group_is_at_the_top(groups):
    groups(
        "0::/docker/of-the-host\n",
        {".": {"memory.max": 4 * GIB, "memory.current": 5 * GIB, "memory.stat": "anon 5"}},
    )
    assert machine.available_memory() == 0


def test_the_older_kind_of_control_group(groups):
    groups(
        "5:cpu:/\n4:memory:/docker/x\n0::/\n",
        {
            "memory/docker/x": {
                "memory.limit_in_bytes": 2 * GIB, "memory.usage_in_bytes": GIB, "memory.stat": f"total_inactive_file {GIB // 2}",
            },
            "memory": {"memory.limit_in_bytes": 2**63 - 4096, "memory.usage_in_bytes": GIB, "memory.stat": "cache 1"},
        },
    )  # fmt: skip
    assert machine.available_memory() == 2 * GIB - GIB + GIB // 2


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path):
    assert machine.free_disk(tmp_path / "data" / "artifacts") > 0


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A function that puts a program named nvidia-smi, with this output, in front of the path."""

    def put(output: str, status: int = 0) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho "{output}"\nexit {status}\n')  # fmt: skip
        program.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "_torch_has_cuda", lambda: True)
    return put


def test_the_gpu_that_torch_would_use(nvidia_smi, tmp_path, monkeypatch):
    nvidia_smi("NVIDIA GeForce RTX 4090, 23000, 24564")
    assert machine.find_gpu() == machine.Gpu("NVIDIA GeForce RTX 4090", 23000 << 20, 24564 << 20)
    assert "--id=0" in (tmp_path / "asked").read_text()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert machine.find_gpu()
    assert "--id=2" in (tmp_path / "asked").read_text()


def test_no_gpu(nvidia_smi, monkeypatch):
    nvidia_smi("No devices were found", 6)
    assert machine.find_gpu() is None
    nvidia_smi("GPU, [N/A], [N/A]")
    assert machine.find_gpu() is None
    nvidia_smi("GPU, 23000, 24564")
    monkeypatch.setattr(machine, "_torch_has_cuda", lambda: False)
    assert machine.find_gpu() is None, "this PyTorch cannot use it"
    monkeypatch.undo()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.find_gpu() is None


def test_a_driver_that_hangs_is_no_gpu(nvidia_smi, monkeypatch):
    def hang(*_, **given):
        raise subprocess.TimeoutExpired("nvidia-smi", given["timeout"])

    nvidia_smi("GPU, 23000, 24564")
    monkeypatch.setattr(subprocess, "run", hang)
    assert machine.find_gpu() is None
