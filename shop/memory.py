"""What the process does about memory: large blocks go back to the system, and garbage is looked for at a server's pace."""

import ctypes
import gc

LARGE_BYTES = 1024 * 1024
_M_MMAP_THRESHOLD = -3  # malloc.h
YOUNG_OBJECTS_MAX = 5_000  # some 1 MB


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


def look_for_garbage_seldom() -> None:
    """Called once, when everything is loaded: what is there now stays and is never gone through, and new objects are, YOUNG_OBJECTS_MAX
    at a time.

    Python looks after each 700, which a request or two make, and nearly all of them are freed without it.
    """
    gc.collect()
    gc.freeze()
    # All of it as often as Python does: a side that was closed is a large piece of garbage.
    gc.set_threshold(YOUNG_OBJECTS_MAX, 4, 4)
