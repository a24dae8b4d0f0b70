"""Doctor: what is installed, on what machine, and what is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from vemctl import __version__
from vemctl.object_store import is_offline
from vemctl.weights.store import cache_folder, shared_folders

PACKAGES = (
    "torch", "zarr", "numpy", "scipy", "scikit-image", "tifffile", "yaozarrs", "safetensors",
    "pooch", "platformdirs", "filelock", "pillow", "pydantic", "typer", "rich",
)  # fmt: skip
WEIGHT_HOSTS = ("raw.githubusercontent.com", "doi.org", "zenodo.org")
SECONDS_FOR_A_CONNECTION = 2.0
_NOT_FOR_USERS = {"all", "test"}

Connect = Callable[[str, int], bool]


def diagnose(connect: Connect | None = None) -> dict[str, Any]:
    """Look at the installation and the machine; never fails.

    Parameters
    ----------
    connect : callable, optional
        Tells whether a host and port can be reached.

    Returns
    -------
    dict
        Of JSON types; ``"problems"`` is a list of sentences, empty where all is well.
    """
    problems: list[str] = []
    packages = {name: version_of(name) for name in PACKAGES}
    problems += [
        f"{name} is missing: pip install --force-reinstall vemctl"
        for name, version in packages.items()
        if version is None
    ]
    return {
        "vemctl": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "packages": packages,
        "extras": extras(),
        "cpu_cores": usable_cores(),
        "memory": main_memory(),
        "devices": devices(problems),
        "cache": folder_facts(cache_folder(), problems),
        "shared_caches": [shared_facts(folder, problems) for folder in shared_folders()],
        "working_folder": folder_facts(Path.cwd(), problems),
        "network": network(connect or can_connect),
        "problems": problems,
    }


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def extras() -> list[dict[str, Any]]:
    """Return which optional packages are there, and how to install those that are not."""
    try:
        required = metadata.requires("vemctl") or []
    except metadata.PackageNotFoundError:
        required = []
    needs: dict[str, list[str]] = {}
    for line in required:
        match = re.match(r"""([\w.-]+)[^;]*;\s*extra\s*==\s*['"]([\w-]+)['"]""", line)
        if match and match[2] not in _NOT_FOR_USERS:
            needs.setdefault(match[2], []).append(match[1])
    rows = []
    for extra, names in needs.items():
        missing = [name for name in names if version_of(name) is None]
        install = f"pip install 'vemctl[{extra}]'" if missing else None
        rows.append({"name": extra, "present": not missing, "packages": names, "install": install})
    return rows


def usable_cores() -> int:
    """Return on how many cores this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def main_memory() -> dict[str, int | None]:
    """Return the bytes of main memory, and how many are free; None where unknown."""
    facts: dict[str, int | None] = {"total_bytes": None, "available_bytes": None}
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        table = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        facts["total_bytes"] = table["MemTotal"]
        facts["available_bytes"] = table["MemAvailable"]
    except (OSError, ValueError, KeyError, IndexError):
        # Not Linux: the total is known to the C library, what is free is not.
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            facts["total_bytes"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return facts


def devices(problems: list[str]) -> list[dict[str, Any]]:
    """Return the devices that torch can use, as ``--device`` names them.

    Parameters
    ----------
    problems : list of str
        Where torch does not load, this is added to it.
    """
    rows: list[dict[str, Any]] = [
        {"name": "cpu", "model": platform.processor() or platform.machine()}
    ]
    try:
        import torch

        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            model = torch.cuda.get_device_name(index)
            rows.append(
                {"name": f"cuda:{index}", "model": model, "total_bytes": total, "free_bytes": free}
            )
        if torch.backends.mps.is_available():
            rows.append({"name": "mps", "model": "Apple GPU"})
    except Exception as error:  # noqa: BLE001 - drivers fail in many ways, and this is what we report
        problems.append(f"torch does not work: {type(error).__name__}: {error}")
    return rows


def folder_facts(folder: Path, problems: list[str]) -> dict[str, Any]:
    """Return the free space of a folder that need not be there yet.

    Parameters
    ----------
    folder : Path
    problems : list of str
        Where the folder cannot be written to, this is added to it.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    writable = there.is_dir() and os.access(there, os.W_OK)
    if not writable:
        problems.append(f"{folder} cannot be written to")
    return {
        "path": str(folder),
        "writable": writable,
        "free_bytes": shutil.disk_usage(there).free,
    }


def shared_facts(folder: Path, problems: list[str]) -> dict[str, Any]:
    """Return whether a shared store of weights can be read.

    Parameters
    ----------
    folder : Path
    problems : list of str
        Where the folder cannot be read, this is added to it.
    """
    readable = (folder / "records").is_dir() and os.access(folder, os.R_OK | os.X_OK)
    if not readable:
        problems.append(f"VEMCTL_SHARED_CACHE: {folder} is no store of weights that can be read")
    return {"path": str(folder), "readable": readable}


def network(connect: Connect) -> dict[str, Any]:
    """Return whether the hosts that weights come from can be reached.

    Parameters
    ----------
    connect : callable
        Tells whether a host and port can be reached.
    """
    if is_offline():
        return {"offline": True, "reason": "VEMCTL_OFFLINE is set"}
    reached: dict[str, bool] = {}

    def try_host(host: str) -> None:
        reached[host] = connect(*_way_to(host))

    # Looking up a name knows no time limit, hence threads that are left behind.
    threads = [
        threading.Thread(target=try_host, args=(host,), daemon=True) for host in WEIGHT_HOSTS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS_FOR_A_CONNECTION)
    hosts = {host: reached.get(host, False) for host in WEIGHT_HOSTS}
    return {"offline": not any(hosts.values()), "hosts": hosts}


def _way_to(host: str) -> tuple[str, int]:
    proxy = urllib.request.getproxies().get("https")
    if proxy and not urllib.request.proxy_bypass(host):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
        if parts.hostname:
            return parts.hostname, parts.port or 80
    return host, 443


def can_connect(host: str, port: int) -> bool:
    """Tell whether a TCP connection is accepted within two seconds."""
    try:
        socket.create_connection((host, port), timeout=SECONDS_FOR_A_CONNECTION).close()
    except OSError:
        return False
    return True
