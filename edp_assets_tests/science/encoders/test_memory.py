"""Freed memory is kept: counted in page faults, in a process of its own."""

import subprocess
import sys

import pytest

COUNT = """
import resource, sys
import numpy as np
from edp_assets.science.encoders.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
faults = []
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(48 << 20, np.uint8)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_keep_freed_memory__large_arrays_fault_in_once():
    def faults(mode):
        done = subprocess.run([sys.executable, "-c", COUNT, mode], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("keep") < 10 < faults("give back")
