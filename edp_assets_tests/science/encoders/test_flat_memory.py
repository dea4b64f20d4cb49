"""Peak memory of packing, training and embedding: the same at 200 scans and at 2,000; and the probe can tell."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path
import numpy as np, torch
from edp_assets.science.encoders.embedding import embed_resumably
from edp_assets.science.encoders.mae import MaeConfig
from edp_assets.science.encoders.packs import ArrayItems, open_pack, write_pack
from edp_assets.science.encoders.training import train
from edp_assets.science.imaging.slices import cut
from edp_assets.settings import EncoderSettings
torch.set_num_threads(1)
n, folder, hold = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "hold"
config = MaeConfig(2, 48, 12, 16, 2, 2, 16, 1, 2, 0.75, False)
recipe = EncoderSettings(epochs=1, batch_size=256, precision="float32")

def crops(first=0):
    for k in range(first, n):
        yield np.random.default_rng(k).integers(0, 256, (2, 20, 48, 40), dtype=np.uint8)

items = write_pack(folder / "pack", crops(), 48, "v").items(config.item_shape)
assert len(items) == 20 * n
if hold:
    items = ArrayItems(items.read(np.arange(len(items))), "v")
trained = train(config, recipe, items, folder / "c", lambda line: None)
names = [str(k) for k in range(n)]
scans_from = lambda first: ((str(k), cut(c, config.item_shape)) for k, c in enumerate(crops(first), first))
assert sum(1 for _ in embed_resumably(trained.model(), names, scans_from, 256, folder / "j", "v")) == n
# Not getrusage: its peak starts from that of the process that forked this one.
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


def peak_mb(n, folder, hold="stream"):
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(n), str(folder), hold], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024


@pytest.mark.slow
def test_memory__does_not_grow_with_the_number_of_scans(tmp_path):
    few, many = peak_mb(200, tmp_path / "few"), peak_mb(2000, tmp_path / "many")
    print(f"peak RSS: {few:.0f} MB at 200 scans, {many:.0f} MB at 2,000")
    assert abs(many / few - 1) < 0.1


@pytest.mark.slow
def test_memory__the_probe_sees_what_is_held(tmp_path):
    assert peak_mb(2000, tmp_path / "held", "hold") > 1.2 * peak_mb(200, tmp_path / "few")
