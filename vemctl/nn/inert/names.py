"""Names in pickles: which no file of weights needs, and which torch itself reads safely.

Nothing is ever looked up or called, whatever it is named. The list of refused names is there to
tell the user that a file was made to do harm, not to prevent it.
"""

from __future__ import annotations

from vemctl.nn.inert.values import RefusedError, shown

REFUSED_PACKAGES = frozenset(
    {
        *("os", "importlib", "ctypes", "multiprocessing", "concurrent", "asyncio", "pip"),
        *("setuptools", "distutils", "http", "xmlrpc", "idlelib", "ensurepip", "venv"),
    }
)
"""Refused with all their modules."""

REFUSED_MODULES = frozenset(
    {
        *("posix", "nt", "subprocess", "_posixsubprocess", "commands", "popen2", "sys", "shutil"),
        *("socket", "_socket", "socketserver", "ssl", "ftplib", "smtplib", "telnetlib"),
        *("urllib.request", "urllib2", "imp", "_imp", "_frozen_importlib", "zipimport", "runpy"),
        *("_frozen_importlib_external", "pkgutil", "pydoc", "pty", "_ctypes", "cffi"),
        *("webbrowser", "antigravity", "code", "codeop", "pdb", "bdb", "timeit", "cProfile"),
        *("pickle", "_pickle", "cPickle", "dill", "shelve", "marshal", "tempfile"),
        *("_thread", "threading", "_winapi", "winreg", "_winreg", "msvcrt"),
        *("torch.hub", "torch.utils.cpp_extension", "numpy.testing"),
    }
)
"""Refused by themselves; a user's package may be called ``code`` and have modules."""

REFUSED_BUILTINS = frozenset(
    {
        *("eval", "exec", "compile", "execfile", "__import__", "open", "file", "input"),
        *("raw_input", "breakpoint", "reload", "globals", "locals", "help", "memoryview"),
    }
)
BUILTINS = frozenset({"builtins", "__builtin__", "__builtins__"})
REFUSED_NAMES = frozenset(
    {
        *("torch.load", "torch.serialization.load", "torch.compile", "torch.jit.load"),
        *("numpy.load", "numpy.lib.npyio.load"),
    }
)

STORAGES = {
    "torch.DoubleStorage": ("float64", 8),
    "torch.FloatStorage": ("float32", 4),
    "torch.HalfStorage": ("float16", 2),
    "torch.BFloat16Storage": ("bfloat16", 2),
    "torch.LongStorage": ("int64", 8),
    "torch.IntStorage": ("int32", 4),
    "torch.ShortStorage": ("int16", 2),
    "torch.CharStorage": ("int8", 1),
    "torch.ByteStorage": ("uint8", 1),
    "torch.BoolStorage": ("bool", 1),
    "torch.ComplexFloatStorage": ("complex64", 8),
    "torch.ComplexDoubleStorage": ("complex128", 16),
    "torch.storage.UntypedStorage": ("uint8", 1),
}
"""Types of storages: the dtype of their elements, and bytes per element."""

UNTYPED_KINDS = {
    "torch.uint16": ("uint16", 2),
    "torch.uint32": ("uint32", 4),
    "torch.uint64": ("uint64", 8),
    "torch.float8_e4m3fn": ("float8_e4m3fn", 1),
    "torch.float8_e4m3fnuz": ("float8_e4m3fnuz", 1),
    "torch.float8_e5m2": ("float8_e5m2", 1),
    "torch.float8_e5m2fnuz": ("float8_e5m2fnuz", 1),
}
"""dtypes without a type of storage, whose tensors name them."""

KNOWN_TO_TORCH = frozenset(
    {
        *("collections.OrderedDict", "collections.Counter", "torch.Size", "torch.device"),
        *("_codecs.encode", "builtins.set", "__builtin__.set"),
        *("builtins.complex", "__builtin__.complex"),
        *("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"),
        *("torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter"),
        *("torch._utils._rebuild_parameter_with_state",),
        *(f"torch.{kind}" for kind, _ in STORAGES.values()),
        *STORAGES,
        *UNTYPED_KINDS,
    }
)
"""What ``torch.load(weights_only=True)`` reads and the machine checks the arguments of."""


def check_name(module: str, name: str) -> str:
    """Return the dotted name, unless no file of weights needs it.

    Raises
    ------
    RefusedError
        The name runs programs, reads files or loads modules.
    """
    parts = name.split(".")
    whole = f"{module}.{name}"
    if (
        module.split(".", maxsplit=1)[0] in REFUSED_PACKAGES
        or module in REFUSED_MODULES
        or (module in BUILTINS and parts[0] in REFUSED_BUILTINS)
        or whole in REFUSED_NAMES
        # ``torch.serialization`` has an attribute ``os``, and that has ``system``.
        or (len(parts) > 1 and not (REFUSED_PACKAGES | REFUSED_MODULES).isdisjoint(parts))
    ):
        raise RefusedError(
            f"it names {shown(whole)}, which no file of weights needs; do not trust it"
        )
    return whole
