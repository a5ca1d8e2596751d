"""What the machine has."""

from __future__ import annotations

import os


def physical_memory() -> int:
    """Bytes of the machine, or more than any machine has where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no sysconf on Windows
        return 1 << 62
