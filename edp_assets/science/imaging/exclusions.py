"""Which crops are not to be trusted, by what an organ may look like. What cannot be cropped at all `crops` refuses."""

from __future__ import annotations

from edp_assets.science.imaging.crops import Crop
from edp_assets.science.imaging.nifti import ImageError
from edp_assets.settings import OrganSettings


def require_usable(crop: Crop, organ: OrganSettings, name: str) -> Crop:
    """Return the crop, or refuse it.

    - "too few slices": a crop of fewer axial slices than `min_slices` is a failed segmentation.
    - "mask touches the volume's edge": the field of view cuts the organ off, so volume and shape are not the organ's.
      Faces that the organ leaves by nature are in `may_touch`; one voxel on another is enough, since a stray voxel
      there would blow up the cuboid as well.
    - "fat-water swap suspected": Dixon reconstruction can take fat for water, in the whole organ or none of it here.
      Judged is mean fat / (mean fat + mean water) inside the mask against the organ's `fat_fraction`, a fixed range: it
      needs no other scan, so that a scan's fate does not depend on who else is in the cohort. The range is wide. A
      watery organ must keep every fatty liver (40% fat by proton density is about 0.52 of the T1-weighted signal), so
      that a swap of an organ with more than 0.3 of fat signal passes; marrow must be fatty. An organ without both
      channels is not judged, nor where the mean signal is not positive.

    Args:
        crop: what `crop_scan` returned, its channels in the order of `organ.channels`.
        organ: the limits.
        name: what the error calls the scan, usually the mask's path.

    Raises:
        ImageError: with these reasons.
    """
    if (n_slices := crop.voxels.shape[1]) < organ.min_slices:
        raise ImageError(
            "too few slices",
            f"{name}: wanted at least {organ.min_slices} axial slices with the organ, found {n_slices}; "
            "segment it again, or lower min_slices in cohort.toml",
        )
    if cut := [face for face in crop.touched if face not in organ.may_touch]:
        wanted = f"an organ that ends inside the volume{_but(organ.may_touch)}"
        raise ImageError(
            "mask touches the volume's edge",
            f"{name}: wanted {wanted}, found mask voxels on its {' and '.join(cut)} face; "
            "drop the scan, or add the face to may_touch in cohort.toml",
        )
    fraction = fat_fraction(crop, organ.channels)
    least, most = organ.fat_fraction
    if fraction is not None and not least <= fraction <= most:
        raise ImageError(
            "fat-water swap suspected",
            f"{name}: wanted {least:g} to {most:g} of the mean signal from fat, found {fraction:.2f}; "
            "look at the scan and exchange the two images, or widen fat_fraction in cohort.toml",
        )
    return crop


def fat_fraction(crop: Crop, channels: tuple[str, ...]) -> float | None:
    """Return mean fat / (mean fat + mean water) inside the mask, in signal; None without both or without signal."""
    means = dict(zip(channels, crop.mean_intensity, strict=True))
    fat, water = means.get("fat"), means.get("water")
    if fat is None or water is None or min(fat, water) < 0 or fat + water == 0:
        return None
    return fat / (fat + water)


def _but(faces: tuple[str, ...]) -> str:
    return f" (but for {', '.join(faces)})" if faces else ""
