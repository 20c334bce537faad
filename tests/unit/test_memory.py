"""What is used for a moment is not kept."""

import subprocess
import sys

PROGRAM = """
import threading
from shop.memory import give_back_large_blocks
from shop.passwords import hash_password

def kept_mb():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1024

assert give_back_large_blocks()
before = kept_mb()
stay = threading.Barrier(9)

def hash_and_stay():
    hash_password("correct horse battery staple")
    stay.wait()
    stay.wait()

threads = [threading.Thread(target=hash_and_stay) for _ in range(8)]
for thread in threads:
    thread.start()
stay.wait()
print(kept_mb() - before)
stay.wait()
"""


def test_eight_threads_that_hashed_a_password_keep_nothing_of_it():
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)

    assert float(ran.stdout) < 10, f"{float(ran.stdout):.0f} MB; one hash takes 19"


SELDOM = """
import gc, weakref
from shop.memory import look_for_garbage_seldom

class Ring:
    def __init__(self):
        self.me = self

kept, lost = Ring(), weakref.ref(Ring())
look_for_garbage_seldom()
assert lost() is None, "what is garbage already is taken away before the rest is set aside"
seen = [weakref.ref(Ring()) for _ in range(11_000)]
assert sum(ring() is None for ring in seen) > 5_000, "new garbage is found"
assert not any(it is kept for it in gc.get_objects()), "what was there before is not gone through"
"""


def test_what_serving_begins_with_is_set_aside_and_new_garbage_is_found():
    ran = subprocess.run([sys.executable, "-c", SELDOM], capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0, ran.stderr
