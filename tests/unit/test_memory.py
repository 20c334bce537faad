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
