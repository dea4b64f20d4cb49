"""Memory of the process that trains on a CPU; what is in it belongs elsewhere."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the next step instead of handing it back to the system.

    A training step allocates and frees about a gigabyte of activations; handed back, each page is faulted in and
    zeroed anew every step. The process holds its peak from then on. Returns False, and changes nothing, where the C
    library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
