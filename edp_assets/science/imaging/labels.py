"""Which voxels of a mask are the organ: labels by number, by name, and TotalSegmentator's names for them.

The table is of facts: the class maps of TotalSegmentator 2 (Wasserthal et al. 2023), tasks `total` (CT) and `total_mr`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from edp_assets.science.imaging.nifti import ImageError, Volume

_VERTEBRAE = " ".join(f"vertebrae_{level}" for level in (
    "S1", *(f"L{i}" for i in range(5, 0, -1)), *(f"T{i}" for i in range(12, 0, -1)), *(f"C{i}" for i in range(7, 0, -1))
))  # fmt: skip
_RIBS = " ".join(f"rib_{side}_{i}" for side in ("left", "right") for i in range(1, 13))
_ABDOMEN = "spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left"
_LIMBS_AND_HIPS = "humerus_left humerus_right scapula_left scapula_right clavicula_left clavicula_right femur_left \
femur_right hip_left hip_right"
_MUSCLES = "gluteus_maximus_left gluteus_maximus_right gluteus_medius_left gluteus_medius_right gluteus_minimus_left \
gluteus_minimus_right autochthon_left autochthon_right iliopsoas_left iliopsoas_right"
_PELVIC_VESSELS = "iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right"


def _numbered(*names: str) -> dict[str, int]:
    return {name: label for label, name in enumerate(" ".join(names).split(), 1)}


TOTALSEGMENTATOR: dict[str, dict[str, int]] = {
    "total": _numbered(
        _ABDOMEN,
        "lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right",
        "esophagus trachea thyroid_gland small_bowel duodenum colon urinary_bladder prostate",
        "kidney_cyst_left kidney_cyst_right sacrum",
        _VERTEBRAE,
        "heart aorta pulmonary_vein brachiocephalic_trunk subclavian_artery_right subclavian_artery_left",
        "common_carotid_artery_right common_carotid_artery_left brachiocephalic_vein_left brachiocephalic_vein_right",
        "atrial_appendage_left superior_vena_cava inferior_vena_cava portal_vein_and_splenic_vein",
        _PELVIC_VESSELS,
        _LIMBS_AND_HIPS,
        "spinal_cord",
        _MUSCLES,
        "brain skull",
        _RIBS,
        "sternum costal_cartilages",
    ),
    "total_mr": _numbered(
        _ABDOMEN,
        "lung_left lung_right esophagus small_bowel duodenum colon urinary_bladder prostate sacrum vertebrae",
        "intervertebral_discs spinal_cord heart aorta inferior_vena_cava portal_vein_and_splenic_vein",
        _PELVIC_VESSELS,
        _LIMBS_AND_HIPS,
        _MUSCLES,
        "brain",
    ),
}
"""Label of each name in a multi-label file of each task."""

ORGAN_PARTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "liver": (("liver",),),
    "spleen": (("spleen",),),
    "brain": (("brain",),),
    "kidneys": (("kidney_left", "kidney_right"),),
    "thigh_bones": (("femur_left", "femur_right"),),
    "lungs": (
        ("lung_left", "lung_right"),
        (
            "lung_upper_lobe_left", "lung_lower_lobe_left",
            "lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right",
        ),
    ),
    "heart": (
        ("heart",),
        (
            "heart_myocardium", "heart_atrium_left", "heart_ventricle_left",
            "heart_atrium_right", "heart_ventricle_right",
        ),
    ),
}  # fmt: skip
"""The names that together are an organ of the built-in table, in each way that TotalSegmentator writes them."""

WANTED = "mask_label as whole numbers from 1 or label names, joined by +: 5, 2+3, kidney_left+kidney_right"


def parse_label(text: str) -> str:
    """Return a mask label as it is stored: numbers or names joined by `+`, without blanks; "3.0" becomes "3".

    Raises:
        ValueError: where it is neither.
    """
    parts = [part.strip() for part in text.split("+")]
    numbers = [_whole(part) for part in parts]
    if all(number is not None for number in numbers):
        return "+".join(str(number) for number in numbers)
    if any(number is not None or not part[:1].isalpha() for part, number in zip(parts, numbers, strict=True)):
        raise ValueError(f"wanted {WANTED}; found {text!r}")
    return "+".join(parts)


def unknown_names(label: str, own: Mapping[int, str]) -> dict[str, str]:
    """Return the names of a parsed label that neither the file nor TotalSegmentator has, with what may be meant."""
    known = {*own.values(), *(name for task in TOTALSEGMENTATOR.values() for name in task)}
    names = [] if label[0].isdigit() else label.split("+")
    return {name: _near(name, own.values() or known) for name in names if name not in known}


def resolve_labels(mask: Volume, label: int | str | None, organ: str | None) -> tuple[int, ...] | None:
    """Return the labels that are the organ; None: every non-zero voxel.

    Names are looked up in the file's own label table, and where it has none in TotalSegmentator's lists. Its tasks
    number some organs differently (heart: 51 in total, 22 in total_mr): that is settled by a label that only `total`
    has, or refused. Without a label, a file whose own table names all parts of the organ is taken at its word; one that
    names organs, but not this one whole, is refused, since its non-zero voxels are others.

    Args:
        mask: the mask with its own label names.
        label: what the scans table gives.
        organ: the organ's name.

    Raises:
        ImageError: "unknown label name", "ambiguous label name", "organ not in mask".
        ValueError: a label that `parse_label` refuses.
    """
    if label is None:
        return _own_labels(mask, organ)
    parsed = parse_label(str(label))
    if parsed[0].isdigit():
        return tuple(dict.fromkeys(int(number) for number in parsed.split("+")))
    names = tuple(dict.fromkeys(parsed.split("+")))
    own = {name: number for number, name in mask.labels.items()}
    tables = {"own": own} if own else TOTALSEGMENTATOR
    fitting = {task: tuple(table[n] for n in names) for task, table in tables.items() if all(n in table for n in names)}
    if not fitting:
        known = {name for table in tables.values() for name in table}
        absent = next((name for name in names if name not in known), "+".join(names))
        whose = "the file's own label names" if own else "TotalSegmentator's label names"
        found = f"{absent!r}{_near(absent, known)}"
        raise ImageError(
            "unknown label name", f"{mask.name}: wanted {whose}, found {found}; correct mask_label, or give the number"
        )
    if len(set(fitting.values())) > 1 and mask.data.max() > max(TOTALSEGMENTATOR["total_mr"].values()):
        return fitting["total"]
    if len(set(fitting.values())) > 1:
        found = " and ".join(f"{'+'.join(map(str, labels))} in {task}" for task, labels in fitting.items())
        raise ImageError(
            "ambiguous label name",
            f"{mask.name}: wanted one meaning of {'+'.join(names)}, found {found}; give the number as mask_label",
        )
    return next(iter(fitting.values()))


def _own_labels(mask: Volume, organ: str | None) -> tuple[int, ...] | None:
    """Return the labels that the file itself calls the organ; None where it has no names, or none that are organs."""
    own = {name: number for number, name in mask.labels.items()}
    if not own or organ not in ORGAN_PARTS:
        return None
    for names in ORGAN_PARTS[organ]:
        if all(name in own for name in names):
            return tuple(own[name] for name in names)
    organs = {name for task in TOTALSEGMENTATOR.values() for name in task} & set(own)
    if not organs:
        return None
    wanted = " or ".join("+".join(names) for names in ORGAN_PARTS[organ])
    shown = ", ".join(sorted(organs)[:5])
    raise ImageError(
        "organ not in mask",
        f"{mask.name}: wanted labels named {wanted}, found {shown}; give mask_label, or another file",
    )


def _whole(text: str) -> int | None:
    """Return a whole number from 1, however it is written (3, 3.0)."""
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number >= 1 and number.is_integer() else None


def _near(name: str, known: Iterable[str]) -> str:
    by_folded = {each.casefold(): each for each in known}
    close = [by_folded[key] for key in difflib.get_close_matches(name.casefold(), by_folded, n=3, cutoff=0.6)]
    return f" (near: {', '.join(close)})" if close else ""
