"""Names of devices to devices that are there."""

from __future__ import annotations

import os
from typing import Any

from vemctl.errors import DeviceError


def resolve(name: str) -> str:
    """Return the torch device that `name` stands for.

    Parameters
    ----------
    name : str
        ``auto`` (the first CUDA device, else Apple's, else the CPU), ``cpu``, ``cuda``,
        ``cuda:N`` or ``mps``.

    Raises
    ------
    DeviceError
        The device is not there; says which are.
    """
    import torch

    there = available()
    if name == "auto":
        return there[0]
    if name == "cuda" and torch.cuda.is_available():
        return "cuda:0"
    if name in there:
        return name
    kind = name.partition(":")[0]
    if kind not in {"cpu", "cuda", "mps"} or (kind == "cpu" and name != "cpu"):
        raise DeviceError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps")
    why = ""
    if kind == "cuda" and torch.version.cuda is None:
        why = "; this torch was built without CUDA: install a CUDA build"
    raise DeviceError(f"--device {name}: no such device here{why}. Available: {', '.join(there)}")


def resolve_all(name: str) -> list[str]:
    """Return the torch devices that `name` stands for, where it may stand for several.

    Parameters
    ----------
    name : str
        What `resolve` takes; ``all`` (every CUDA device), ``cuda:0,1`` or ``cuda:0,cuda:1``.

    Raises
    ------
    DeviceError
        A device is not there, or is named twice.
    """
    if name in ("all", "cuda:all"):
        found = [each for each in available() if each.startswith("cuda")]
        if not found:
            raise DeviceError(
                f"--device {name}: no CUDA device here. Available: {', '.join(available())}"
            )
        return found
    first, *others = name.split(",")
    kind = first.partition(":")[0]
    names = [first, *(each if ":" in each else f"{kind}:{each}" for each in others)]
    found = [resolve(each) for each in names]
    if len(set(found)) < len(found):
        raise DeviceError(f"--device {name}: names a device twice; name each once")
    return found


def be_exact() -> None:
    """Make float32 mean float32 and the same call give the same bits, on CUDA too.

    torch would let convolutions round to TF32 (ten bits of mantissa), which is beyond the
    tolerance to which networks equal their originals.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def num_threads(device: str) -> int | None:
    """Return with how many threads torch computes; None where that does not change results.

    Convolutions on a CPU add up in an order that depends on it.
    """
    import torch

    return torch.get_num_threads() if device == "cpu" else None


def use_threads(count: int) -> None:
    """Compute with `count` threads, as the run did that is being continued."""
    import torch

    torch.set_num_threads(count)


def available() -> list[str]:
    """Return the torch devices of this machine, the fastest first."""
    import torch

    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def in_use(device: str) -> dict[str, Any]:
    """Return what a device is called, and how much of its own memory was taken at most.

    Parameters
    ----------
    device : str
        A torch device.

    Returns
    -------
    dict
        JSON types: ``device_name``, and ``peak_device_memory_bytes``, None where the device has
        no memory of its own.
    """
    if not device.startswith("cuda"):
        return {"device_name": device, "peak_device_memory_bytes": None}
    import torch

    peak = int(torch.cuda.max_memory_allocated(device))
    return {
        "device_name": str(torch.cuda.get_device_name(device)),
        "peak_device_memory_bytes": peak,
    }


def free_memory(device: str) -> int:
    """Return the bytes of memory that are free on `device`."""
    import torch

    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    return free_main_memory()


def free_main_memory() -> int:
    """Return the bytes of main memory that may be taken; minds the limit of a container or job.

    Where the system does not say what is free, half of what is built in counts.
    """
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - a pseudo file
            facts = dict(line.split(":", 1) for line in file)
        free = int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        pages = os.sysconf_names.get("SC_PHYS_PAGES")
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf(pages) // 2 if pages else 4 * 2**30
    return min(free, _control_group_room())


def _control_group_room() -> int:
    unlimited = 2**62
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:  # noqa: PTH123
            limit = file.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as file:  # noqa: PTH123
            used = int(file.read())
    except (OSError, ValueError):
        return unlimited
    return unlimited if limit == "max" else max(0, int(limit) - used)
