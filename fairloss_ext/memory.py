"""Memory of the machine."""

import os


def physical_memory() -> int:
    """Return the bytes of the machine, or 2^62 where the system does not report them."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no sysconf on Windows
        return 1 << 62
