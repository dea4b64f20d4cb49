"""Organs: what their crops and encoders look like (paper, Table 5)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edp_assets.settings.section import Section

Face = Literal["left", "right", "posterior", "anterior", "inferior", "superior"]
FACES: tuple[Face, ...] = ("left", "right", "posterior", "anterior", "inferior", "superior")
"""Faces of a volume in RAS+: the lower and upper end of x, y, z."""


class OrganSettings(Section):
    """What one organ's crops and encoders look like (paper, Table 5)."""

    channels: tuple[str, ...] = Field(("fat", "water"), description="image channels, `image_<channel>` in scans")
    patch: int = Field(8, ge=1, description="MAE patch edge, pixels (Table 5)")
    resolution: int = Field(144, ge=4, description="MAE slice edge, pixels (Table 5)")
    patch_video: int = Field(7, ge=1, description="VideoMAE patch edge, pixels (Table 5)")
    resolution_video: int = Field(144, ge=4, description="VideoMAE slice edge, pixels (Table 5)")
    min_slices: int = Field(3, ge=1, description="fewest axial slices of a crop; fewer: too few slices")
    may_touch: tuple[Face, ...] = Field(
        FACES, description="faces of the volume that the mask may reach; at another: mask touches the volume's edge"
    )
    fat_fraction: tuple[float, float] = Field(
        (0.0, 1.0), description="plausible mean fat / (fat + water) signal in the mask; else: fat-water swap suspected"
    )
    adjust_for: tuple[str, ...] = Field(
        (), description="factors regressed out of embeddings: columns of participants, traits, embedding_pc1, ..."
    )


# Of an organ outside the table nothing is known: its images may be tight crops on purpose, and its tissue fat, so the
# defaults above let it reach every face and have any fat fraction.
# Watery organs: 0.7 of the signal is far above the fattiest liver. At 40% proton-density fat, T1 weighting makes it
# about 0.52 of the signal (fat 1.65 times as bright at TR 6.7 ms, 10 degrees); a swap turns 0.02-0.3 into 0.7-0.98.
_WATERY = (0.0, 0.7)
ORGANS: dict[str, OrganSettings] = {
    "liver": OrganSettings(
        patch=8, patch_video=7, resolution=144, resolution_video=144, may_touch=(), fat_fraction=_WATERY
    ),
    "kidneys": OrganSettings(
        patch=6, patch_video=6, resolution=48, resolution_video=36, may_touch=(), fat_fraction=_WATERY
    ),
    # Abdominal scans cut lungs and heart at the top. Air gives no signal in either channel: no fat fraction to judge.
    "lungs": OrganSettings(patch=12, patch_video=12, resolution=180, resolution_video=156, may_touch=("superior",)),
    "heart": OrganSettings(
        patch=8, patch_video=7, resolution=144, resolution_video=144, may_touch=("superior",), fat_fraction=_WATERY
    ),
    # Not in Table 5. A spleen is about half a liver's width; a pair of thigh bones spans the pelvis but each is thin;
    # a T1 brain at 1 mm is about 140 x 180 x 140.
    "spleen": OrganSettings(
        patch=6, patch_video=6, resolution=72, resolution_video=72, may_touch=(), fat_fraction=_WATERY
    ),
    # Neck-to-knee scans end above the knee. Marrow is mostly fat; where it is red it still keeps a third.
    "thigh_bones": OrganSettings(
        patch=8,
        patch_video=8,
        resolution=144,
        resolution_video=144,
        may_touch=("inferior",),
        fat_fraction=(0.25, 1.0),
    ),
    # The brain stem runs on below a head scan.
    "brain": OrganSettings(
        channels=("t1",), patch=12, patch_video=12, resolution=192, resolution_video=192, may_touch=("inferior",)
    ),
}
"""The built-in organ table: Table 5 of the paper, and our choice for the organs it leaves out."""
