"""What this machine has for a process: main memory within the limits of its control group, disk,
and the memory of its GPU.

Imports none of the large libraries. A container or a service may be allowed less memory than the
machine has free (`docker run --memory`, systemd's `MemoryMax`): the kernel kills what takes more.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU. `free` and `total` are its memory in bytes."""

    name: str
    free: int
    total: int


@dataclass(frozen=True)
class Machine:
    """What is free of main memory, in bytes, and the GPU, where there is one."""

    memory: int
    gpu: Gpu | None


def this_machine() -> Machine:
    """What this machine has free now; asking for a GPU takes a fraction of a second."""
    return Machine(available_memory(), find_gpu())


def available_memory() -> int:
    """Bytes of main memory that a process can have now, without swapping and without being killed
    for it.
    """
    import psutil

    return min([int(psutil.virtual_memory().available), *_rooms_of_control_groups()])


def free_disk(folder: Path) -> int:
    """Free bytes of the disk that `folder` is on; it may not be there yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def find_gpu() -> Gpu | None:
    """The GPU that PyTorch would use; None where there is none, the driver does not answer, or a
    PyTorch without CUDA is installed.

    Asked of `nvidia-smi`: loading PyTorch would take seconds, and some of that memory.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    first = "0" if visible is None else visible.partition(",")[0].strip()
    if first in ("", "-1") or not shutil.which("nvidia-smi") or not _torch_has_cuda():
        return None
    command = ["nvidia-smi", f"--id={first}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            [*command, "--query-gpu=name,memory.free,memory.total"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout
        name, free, total = answer.splitlines()[0].rsplit(",", 2)
        return Gpu(name.strip(), int(free) << 20, int(total) << 20)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _torch_has_cuda() -> bool:
    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return True  # it will be installed to fit


def _rooms_of_control_groups() -> list[int]:
    """What each limited group around this process leaves, in bytes; pages of files are taken back
    by the kernel and do not count as used.
    """
    rooms = []
    for folder, limit, usage, inactive in _control_groups():
        try:
            allowed = (folder / limit).read_text().strip()
            if not allowed.isdigit():  # "max": no limit
                continue
            used = int((folder / usage).read_text())
            counts = dict(
                line.split(maxsplit=1) for line in (folder / "memory.stat").read_text().splitlines()
            )
            rooms.append(max(0, int(allowed) - used + int(counts.get(inactive, 0))))
        except (OSError, ValueError):
            continue
    return rooms


def _control_groups() -> list[tuple[Path, str, str, str]]:
    """The groups around this process with a memory controller, as the kernel documents them
    (admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst): folder, and its files' names.
    """
    second = ("memory.max", "memory.current", "inactive_file")
    first = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    try:
        lines = OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return []
    groups = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, names = CGROUPS, second
        elif "memory" in controllers.split(","):
            top, names = CGROUPS / "memory", first
        else:
            continue
        # in a container, the path may be that of the host; its own group is then at the top
        inside = top / path.strip("/")
        around = [inside, *inside.parents]
        groups += [(folder, *names) for folder in around[: around.index(top) + 1]]
    return groups
