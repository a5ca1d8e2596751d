"""The number of warps of a kernel that a multiprocessor holds at once."""

from __future__ import annotations

from typing import NamedTuple


class Multiprocessor(NamedTuple):
    """CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"."""

    warps: int
    blocks: int
    registers: int
    shared: int  # bytes that blocks can use

    warp_registers = 256  # a warp's registers come in multiples of this
    block_shared = 1024  # bytes of a block that the system reserves
    shared_unit = 128  # bytes that shared memory comes in multiples of


MULTIPROCESSORS = {
    "80": Multiprocessor(64, 32, 65536, 164 << 10),
    "90": Multiprocessor(64, 32, 65536, 228 << 10),
    "100": Multiprocessor(64, 32, 65536, 228 << 10),
}


def resident_warps(architecture: str, registers: int, shared: int, threads: int) -> int:
    """Return the resident warps of one multiprocessor, in blocks of `threads` threads.

    It is 0 where no block fits.

    Args:
        registers: of a thread.
        shared: bytes a block, static and dynamic.
    """
    unit = MULTIPROCESSORS[architecture]
    warps = -(-threads // 32)
    of_warp = -(-registers * 32 // unit.warp_registers) * unit.warp_registers
    # A multiprocessor has four parts with a fourth of the registers each; a warp is in one of them.
    by_registers = 4 * (unit.registers // 4 // of_warp) // warps
    of_block = -(-(shared + unit.block_shared) // unit.shared_unit) * unit.shared_unit
    blocks = min(unit.blocks, unit.warps // warps, by_registers, unit.shared // of_block)
    return blocks * warps


def occupancy(architecture: str, registers: int, shared: int, threads: int) -> float:
    """Return the share of a multiprocessor's warps that are resident."""
    resident = resident_warps(architecture, registers, shared, threads)
    return resident / MULTIPROCESSORS[architecture].warps
