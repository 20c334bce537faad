"""Memory that is used for a moment goes back to the system."""

import ctypes

LARGE_BYTES = 1024 * 1024
_M_MMAP_THRESHOLD = -3  # malloc.h


def give_back_large_blocks() -> bool:
    """Let each block above LARGE_BYTES be mapped by itself and unmapped when it is freed; False where the C library cannot be told.

    glibc raises its threshold to the size of the largest block that was freed, and keeps smaller ones in the arena of the thread: each
    thread that ever checked a password held on to 19 MiB, 152 MiB with eight threads (mallopt(3), M_MMAP_THRESHOLD).
    Called once, before there are threads; it holds for the whole process.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
    except (AttributeError, OSError):
        return False
