"""Fine-tuning on another machine: a bundle is written here, trained there, and its adapter taken
back.

    here    write_bundle    collect and build_dataset, then the bundle
    there   train_bundle    the stage finetune on the bundle; runs under `accelerate launch` too
    here    take_back       checks the adapter and puts it where the stage finetune looks for it

No Prefect flows: they need no server. An adapter is addressed by the digest of its inputs, so the
next run finds the one that was taken back as if it had been trained here.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from stock_llm.artifacts import Adapter, Dataset, load, load_or_make
from stock_llm.dataset.tuning_data import tuning_data
from stock_llm.errors import InputError, MissingExtra
from stock_llm.llm.base import base_digest
from stock_llm.llm.profiles import load_profile, profile_names
from stock_llm.pipeline.run_record import run_lock
from stock_llm.settings import Settings, load_settings
from stock_llm.skills.row import read_rows
from stock_llm.storage.checksums import digest_of
from stock_llm.transfer import adapter_archive, bundle
from stock_llm.transfer.bundle import BundleContent
from tasks.build_dataset import build_dataset
from tasks.collect import collect
from tasks.finetune import train, training_inputs

if TYPE_CHECKING:
    from accelerate import PartialState


def write_bundle(settings: Settings, path: Path) -> BundleContent:
    """Writes what fine-tuning needs to `path`; says what is in it.

    Raises:
        InputError: as collect and build_dataset do; or there is no such base.
    """
    profile = load_profile(settings.home, settings.profile)
    with run_lock(settings):
        dataset = build_dataset.fn(settings, collect.fn(settings))
    inputs = training_inputs(settings, profile, dataset.digest)
    rows = tuning_data(dataset, profile.training.preferences).rows
    as_json = json.loads(json.dumps(inputs, default=str))
    return bundle.write_bundle(path, profile, settings.home, rows, digest_of(**inputs), as_json)


def train_bundle(path: Path) -> Path | None:
    """Trains a bundle; the adapter's archive lies beside it. Killed at any moment, it goes on from
    the last checkpoint when it is called again.

    Returns:
        The archive, in the first process; None in the others.

    Raises:
        InputError: the bundle is damaged, or this machine would train another adapter.
        MissingExtra: the extra `train` is not installed.
    """
    content = bundle.read_content(path)
    out = path.with_name(f"{path.stem}-adapter.zip")
    if out.exists() and adapter_archive.read_content(out).digest == content.digest:
        return out
    processes = _processes()
    work = path.with_name(f"{path.stem}.work")
    lock = _locked(work) if processes.is_main_process else None
    if lock:
        bundle.unpack_bundle(path, work)
    processes.wait_for_everyone()

    settings = load_settings(
        home=work, profile=content.profile.name, seed=content.inputs.get("seed")
    )
    here = training_inputs(settings, content.profile, str(content.inputs.get("dataset")))
    if others := bundle.differences(content.inputs, here):
        raise InputError(
            f"this machine would train another adapter: {'; '.join(others)}",
            file=path,
            remedy="Install the versions that the machine has on which the bundle was written",
        )

    final = work / "adapter" / content.digest
    partial = final.with_name(f"{final.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    finished = load(Adapter, final)
    processes.wait_for_everyone()  # before the first process puts it there
    rows_file = work / bundle.ROWS

    def training(folder: Path) -> Adapter:
        rows = list(read_rows(rows_file))
        return train(settings, content.profile, rows, rows_file, content.digest, folder)

    if lock:
        adapter = load_or_make(Adapter, work, content.digest, training)
        where = f"{processes.num_processes} x {_device()}"
        adapter_archive.write_adapter(out, adapter, content.profile.name, content.inputs, where)
        lock.release()
        shutil.rmtree(work)
    elif finished is None:
        training(partial)
    processes.wait_for_everyone()
    processes.destroy_process_group()
    return out if lock else None


def take_back(settings: Settings, path: Path) -> Adapter:
    """Checks an adapter that was trained elsewhere and puts it where the next run finds it.

    Raises:
        InputError: the archive is damaged, or its adapter belongs to another dataset, base, profile
            or version than those that are here.
        MissingExtra: the extra `train` is not installed.
    """
    content = adapter_archive.read_content(path)
    if content.profile not in profile_names(settings.home):
        raise InputError(
            f"it is for the profile {content.profile!r}, which is not here",
            file=path,
            remedy=f"Known profiles: {', '.join(profile_names(settings.home))}",
        )
    profile = load_profile(settings.home, content.profile)
    here = training_inputs(settings, profile, content.dataset)
    others = bundle.differences(content.inputs, here)
    if not others and content.digest != digest_of(**content.inputs):
        others = [f"its digest {content.digest} is not that of its inputs"]
    if others:
        raise InputError(
            f"this is not the adapter that a run here would train: {'; '.join(others)}",
            file=path,
            remedy="Write a bundle of what is here and train that: stock-llm finetune --bundle",
        )
    if load(Dataset, settings.artifacts / "dataset" / content.dataset) is None:
        raise InputError(
            f"it was trained on the dataset {content.dataset}, which is not here",
            file=path,
            remedy="Take it back in the folder that wrote the bundle",
        )
    base = base_digest(profile, settings.home)

    def unpacked(folder: Path) -> Adapter:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # of a training that began here
        return adapter_archive.unpack_adapter(path, profile, settings.home, base, folder)

    with run_lock(settings):
        return load_or_make(Adapter, settings.artifacts, digest_of(**here), unpacked)


def _processes() -> "PartialState":
    """The processes of this training: one, or as many as `accelerate launch` started."""
    try:
        import torch
        from accelerate import PartialState
    except ImportError as error:
        raise MissingExtra(error.name or "accelerate", "train") from None
    return PartialState(cpu=not torch.cuda.is_available())


def _device() -> str:
    """What a process trains on, with PyTorch's version."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return f"{name}, torch {torch.__version__}"


def _locked(work: Path) -> FileLock:
    """One training of a bundle at a time; the lock goes with the process, however that ends."""
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError("another process is training this bundle", file=work) from None
    return lock
