"""The scans' table out of folders of NIfTI files: person, visit, channel and organ by names alone.

Matching names belongs here; no voxel is read, `edp check` does that. Of masks of many labels the header tells names.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from edp_assets.cohort.ukb.report import Report
from edp_assets.settings.organs import ORGANS

CHANNELS = {"fat": "fat", "f": "fat", "water": "water", "wat": "water", "w": "water", "t1": "t1"}
"""Names of images, by channel."""

OTHER_IMAGES = {
    "in", "inp", "ip", "inphase", "in_phase", "opp", "op", "out", "outphase", "out_phase", "opposed", "opposed_phase",
}  # fmt: skip
"""In-phase and opposed-phase images of a Dixon scan, which no built-in organ uses."""

MANY_LABELS = {"segmentation", "segmentations", "seg", "total", "total_mr", "totalsegmentator", "multilabel"}
"""Names of masks that hold many organs, a label each."""

_MASK_WORDS = {"mask", "masks", "seg", "segmentation", "segmentations", "label", "labels"}
_IMAGE_WORDS = {"mri", "dixon", "image", "images", "img"}
_ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_EID = re.compile(r"(?:sub-)?(\d{7})(?!\d)")
_BULK = re.compile(r"(?:sub-)?(\d{7})[_-](\d{5})[_-](\d)[_-](\d+)")
MANY = 5
"""Names of files that a line of the report shows."""


@dataclass(frozen=True)
class Named:
    """What a file's name says; each part is None where it does not."""

    eid: str | None
    visit: str | None
    role: str | None


@dataclass
class _Person:
    files: dict[str | None, dict[str, list[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )


def read_name(relative: str) -> Named:
    """Return what the path of an image says, below the folder that was given.

    The role is a channel ("image fat"), an organ ("mask liver"), "labels" for a mask of many, "other" for images that
    are known and not used, or None. The file's name goes before the folders', the nearer folder before the farther.

    >>> read_name("1000123_20201_2_0_fat.nii.gz")
    Named(eid='1000123', visit='2', role='image fat')
    >>> read_name("1000123/segmentations/liver.nii.gz")
    Named(eid='1000123', visit=None, role='mask liver')
    """
    *folders, file = Path(relative).parts
    parts = [_ENDING.sub("", file), *reversed(folders)]
    eids = {found[1] for part in parts if (found := _EID.match(part))}
    visits = [found[3] for part in parts if (found := _BULK.match(part))]
    role = None
    labels = is_mask = False
    for part in parts:
        words = [word for word in re.split(r"[_.\s-]+", _EID.sub("", _BULK.sub("", part)).casefold()) if word]
        role = _role(words, is_mask)
        if role == "labels":  # unless a folder names the one organ
            labels, is_mask, role = True, True, None
            continue
        is_mask |= bool(set(words) & _MASK_WORDS)
        if role is not None or set(words) - _MASK_WORDS - _IMAGE_WORDS:
            break  # a name of something else: its folder's name is not its own
    if role is None and labels:
        role = "labels"
    return Named(eids.pop() if len(eids) == 1 else None, visits[0] if visits else None, role)


def _role(words: list[str], is_mask: bool) -> str | None:
    name = "_".join(words)
    rest = "_".join(word for word in words if word not in _MASK_WORDS)
    if rest in ORGANS and not set(words) & _IMAGE_WORDS:
        return f"mask {rest}"
    if name in MANY_LABELS:
        return "labels"
    if is_mask or set(words) & _MASK_WORDS:
        return None
    image = "_".join(word for word in words if word not in _IMAGE_WORDS)
    if image in CHANNELS:
        return f"image {CHANNELS[image]}"
    return "other" if image in OTHER_IMAGES else None


def find_scans(folders: Iterable[Path], report: Report, withdrawn: Collection[str] = ()) -> pl.DataFrame:
    """Return the scans: eid, organ, mask, mask_label, visit, and `image_<channel>` of the channels that organs use.

    Absolute paths; sorted by organ, eid and visit. What cannot be matched by its name, is there twice, or lacks its
    mask or an image, is left out and counted in the report, which names nobody who has withdrawn.

    Raises:
        OSError: a folder that cannot be read.
    """
    people: dict[str, _Person] = defaultdict(_Person)
    unmatched: dict[str, list[str]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for folder in folders:
        for path, relative in _files(folder):
            if relative.lower().endswith(".zip"):
                counts["zip"] += 1
            elif relative.lower().endswith(".dcm"):
                counts["dicom"] += 1
            if not _ENDING.search(relative):
                continue
            named = read_name(relative)
            counts["nifti"] += 1
            if named.role == "other":
                counts["other"] += 1
            elif named.eid is None:
                unmatched["no eid of seven digits in the path, or several"].append(relative)
            elif named.role is None:
                unmatched["no channel and no organ by name"].append(_without_eid(relative))
            else:
                people[named.eid].files[named.visit][named.role].append(path)
    rows = _rows(people, report, withdrawn)
    channels = sorted({channel for row in rows for channel in row if channel.startswith("image_")})
    _tell(report, counts, unmatched)
    columns = ["eid", "organ", "mask", "mask_label", *channels, "visit"]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String))
    return frame.sort("organ", pl.col("eid").cast(pl.Int64), "visit")


def _files(folder: Path) -> Iterable[tuple[str, str]]:
    """Yield every file below a folder, absolute and relative to it, in the order of names; links are followed."""
    root = os.path.abspath(folder)
    above = {root: {os.path.realpath(root)}}
    for place, folders, files in os.walk(root, onerror=_raise, followlinks=True):
        chain = above.pop(place)  # a link back to a folder that it lies in is no folder of its own
        inner = {name: os.path.realpath(os.path.join(place, name)) for name in sorted(folders)}
        folders[:] = [name for name, real in inner.items() if real not in chain]
        above |= {os.path.join(place, name): chain | {inner[name]} for name in folders}
        for file in sorted(files):
            path = os.path.join(place, file)
            yield path, os.path.relpath(path, root)


def _raise(error: OSError) -> None:
    raise error


def _without_eid(relative: str) -> str:
    return _EID.sub("<eid>", relative)


def _rows(people: dict[str, _Person], report: Report, withdrawn: Collection[str]) -> list[dict[str, str | None]]:
    """Return the scans of all people; what is ambiguous or incomplete is told."""
    rows: list[dict[str, str | None]] = []
    twice: list[str] = []
    incomplete: Counter[str] = Counter()
    labels = _label_masks(people, report)
    for eid, person in people.items():
        for visit, roles in _by_visit(eid, person, twice).items():
            single = {}
            for role, paths in roles.items():
                if len(paths) == 1:
                    single[role] = paths[0]
                else:
                    twice.append(f"{eid}: {len(paths)} files for {role}: {', '.join(map(os.path.basename, paths))}")
            images = {role.removeprefix("image "): path for role, path in single.items() if role.startswith("image ")}
            masks: dict[str, tuple[str, str | None]] = {}
            for role, path in single.items():
                if role.startswith("mask "):
                    masks[role.removeprefix("mask ")] = (path, None)
            for organ, label in labels.items():
                if "labels" in single:
                    masks.setdefault(organ, (single["labels"], label))
            for organ, (mask, mask_label) in masks.items():
                lacking = [channel for channel in ORGANS[organ].channels if channel not in images]
                if lacking:
                    incomplete[f"a mask of {organ} without an image of {' and '.join(lacking)}"] += 1
                    continue
                chosen = {f"image_{channel}": images[channel] for channel in ORGANS[organ].channels}
                rows.append(
                    {"eid": eid, "organ": organ, "mask": mask, "mask_label": mask_label, "visit": visit, **chosen}
                )
            if images and not masks:
                incomplete["images without a mask of any organ"] += 1
    report.left += [f"{n:,} scans with {what}" for what, n in sorted(incomplete.items())]
    if twice := [line for line in twice if line.partition(":")[0] not in withdrawn]:
        shown = "; ".join(twice[:MANY]) + (f"; and {len(twice) - MANY} more" if len(twice) > MANY else "")
        report.left.append(f"{len(twice):,} ambiguous names, none of the files taken: {shown}")
    return rows


def _by_visit(eid: str, person: _Person, twice: list[str]) -> dict[str | None, dict[str, list[str]]]:
    """Return a person's files by visit; those without one belong to the only visit there is."""
    visits: dict[str | None, dict[str, list[str]]] = {v: r for v, r in person.files.items() if v is not None}
    unsaid = person.files.get(None, {})
    if len(visits) > 1 and unsaid:
        names = ", ".join(os.path.basename(path) for paths in unsaid.values() for path in paths)
        twice.append(f"{eid}: of visit {' or '.join(sorted(map(str, visits)))}: {names}")
        return dict(visits)
    if not unsaid:
        return dict(visits)
    ((visit, roles),) = visits.items() if visits else [(None, {})]
    together = {role: [*roles.get(role, []), *unsaid.get(role, [])] for role in {**roles, **unsaid}}
    return {visit: together}


def _label_masks(people: dict[str, _Person], report: Report) -> dict[str, str]:
    """Return the organs of masks of many labels, with their labels by name, from the header of the first such mask."""
    from edp_assets.science.imaging.labels import ORGAN_PARTS, TOTALSEGMENTATOR
    from edp_assets.science.imaging.nifti import ImageError, read_label_names

    first = next(
        (r["labels"][0] for p in people.values() for r in p.files.values() if r.get("labels")), None
    )  # fmt: skip
    if first is None:
        return {}
    try:
        names = set(read_label_names(first).values())
    except ImageError as error:
        report.to_do.append(f"the first mask of many labels cannot be read, so none is taken: {error}")
        return {}
    if names:
        fitting = {o: next((p for p in ways if set(p) <= names), None) for o, ways in ORGAN_PARTS.items()}
        found = {organ: "+".join(parts) for organ, parts in fitting.items() if parts}
        report.guessed.append(
            f"masks of many labels hold {', '.join(found) or 'no organ of the table'}, by the label names in the "
            "header of "
            "the first; labels are named, so each mask's own numbers count"
        )
        return found
    # TotalSegmentator's tasks number some organs differently; these have one number in both.
    same = {
        organ: "+".join(ways[0])
        for organ, ways in ORGAN_PARTS.items()
        if all(len({task.get(part) for task in TOTALSEGMENTATOR.values()}) == 1 for part in ways[0])
    }
    report.guessed.append(
        f"masks of many labels name none in their headers: taken as TotalSegmentator's, {', '.join(same)} alone, whose "
        "numbers are the same in its tasks total and total_mr; for other organs write mask_label in scans.csv"
    )
    return same


def _tell(report: Report, counts: Counter[str], unmatched: dict[str, list[str]]) -> None:
    if counts["other"]:
        report.left.append(f"{counts['other']:,} in-phase and opposed-phase images, which no organ of the table uses")
    for reason, names in unmatched.items():
        kinds = Counter(names).most_common()
        shown = ", ".join(name for name, _ in kinds[:MANY]) + (
            f", and {len(kinds) - MANY} more" if len(kinds) > MANY else ""
        )
        report.left.append(f"{len(names):,} images with {reason}: {shown}")
    for what, text in (("zip", ".zip archives"), ("dicom", "DICOM files")):
        if counts[what]:
            report.to_do.append(
                f"{counts[what]:,} {text} in the image folders hold DICOM, not NIfTI: unpack and convert them "
                "(dcm2niix, "
                "or a Dixon pipeline that joins the stations), as <eid>_20201_2_0_fat.nii.gz and so on, and "
                "segment them"
            )
