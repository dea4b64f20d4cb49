"""Reading one NIfTI file into a volume in RAS+ orientation; nothing about organs or masks belongs here."""

from __future__ import annotations

import gzip
import html
import math
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import deflate
import numpy as np
from numpy.typing import NDArray

_GZIP_MAGIC = b"\x1f\x8b"
_DEFLATE_RATIO = 1032
"""No deflate stream grows by more than this factor: a trailer that tells of more is corrupt."""

_LABEL = re.compile(
    r"""<Label\b[^>]*?\bKey=["'](\d+)["'][^>]*>\s*(?:<!\[CDATA\[(.*?)\]\]>|([^<]*?))\s*</Label>""", re.DOTALL
)


class ImageError(ValueError):
    """A scan or mask that cannot be used.

    Attributes:
        reason: a few words that group like failures in tables of exclusions, such as "missing file", "corrupt file".
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the attribute, that the error survives a trip between processes."""
        reason = self.reason
        return (type(self), (reason, str(self).removeprefix(f"{reason}: ")))


@dataclass(frozen=True)
class Volume:
    """A 3D image whose first axis runs to the right, second to the front (anterior), third to the head (superior).

    Attributes:
        data: (n_x, n_y, n_z), as stored in the file: a view of its bytes, turned but not copied.
        affine: (4, 4), voxel indices to millimetres.
        name: what error messages call it, usually its path.
        slope: what stored values are multiplied with, and
        intercept: what is then added, to give the image's own units.
        labels: what the file itself calls its labels (TotalSegmentator writes them into a header extension).
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]
    name: str = "volume"
    slope: float = 1.0
    intercept: float = 0.0
    labels: dict[int, str] = field(default_factory=dict)

    def values(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Return stored values, any part of `data`, in the image's own units."""
        values = stored.astype(np.float64)
        return values if (self.slope, self.intercept) == (1.0, 0.0) else values * self.slope + self.intercept


def read_volume(path: Path | str) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file, plain or gzipped, and reorient it to RAS+.

    Axes are permuted and flipped as the affine says (`nibabel.io_orientation`); nothing is interpolated or copied. The
    whole gzip stream is read, so that its checksum is verified. A 4D file whose last axis has length 1 is taken as 3D.
    Where neither sform nor qform is set the orientation is not known, and nibabel's reading (L, A, S) is kept.

    Raises:
        ImageError: "missing file", "unreadable file", "corrupt file", "not a scalar image", "not a 3D image" or
            "bad affine".
    """
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    image, content = _parse(Path(path))
    dtype = image.get_data_dtype()
    if dtype.fields is not None or not np.issubdtype(dtype, np.number) or np.issubdtype(dtype, np.complexfloating):
        raise ImageError("not a scalar image", f"{path}: wanted one real number a voxel, found {dtype}; convert it")
    shape = image.shape
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3 or 0 in shape:
        raise ImageError("not a 3D image", f"{path}: wanted 3 axes, found shape {image.shape}; split or convert it")
    affine = image.affine
    if not _is_invertible(affine):
        raise ImageError("bad affine", f"{path}: wanted an invertible affine, found {affine}; repair the header")
    stored = np.frombuffer(content, dtype, math.prod(shape), image.dataobj.offset).reshape(shape, order="F")
    orientation = io_orientation(affine)
    return Volume(
        data=apply_orientation(stored, orientation),
        affine=np.asarray(affine @ inv_ornt_aff(orientation, shape), dtype=np.float64),
        name=str(path),
        slope=float(image.dataobj.slope),
        intercept=float(image.dataobj.inter),
        labels=_label_names(image.header),
    )


def read_label_names(path: Path | str) -> dict[int, str]:
    """Return what a mask file calls its labels, empty where it does not; the voxels are read but not looked at.

    Raises:
        ImageError: as `read_volume`.
    """
    image, _ = _parse(Path(path))
    return _label_names(image.header)


def _label_names(header: Any) -> dict[int, str]:
    """Return the labels of the header extension that Connectome Workbench defined and TotalSegmentator writes."""
    names: dict[int, str] = {}
    for extension in header.extensions:
        content = extension.get_content()
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        for key, quoted, plain in _LABEL.findall(text):
            if name := (quoted or html.unescape(plain)).strip():
                names[int(key)] = name
    return {label: name for label, name in names.items() if label}


def _parse(path: Path) -> tuple[Any, bytes | bytearray]:
    """Return the nibabel image of a file and the file's bytes, unpacked.

    Gzip is told by its first bytes, the NIfTI version by the header's size.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        packed = path.read_bytes()
        content: bytes | bytearray = packed
        if packed.startswith(_GZIP_MAGIC):
            content = _decompress(packed)
        header_bytes = {int.from_bytes(content[:4], order) for order in ("little", "big")}
        image_class = nibabel.Nifti2Image if nibabel.Nifti2Header.sizeof_hdr in header_bytes else nibabel.Nifti1Image
        # nibabel gets a copy of what stands before the voxels, the label names among it, and no more.
        offset = float(
            image_class.header_class(content[: image_class.header_class.sizeof_hdr], check=False)["vox_offset"]
        )
        image: Any = image_class.from_bytes(bytes(content[: int(offset)] if 0 < offset < len(content) else content))
        # Counted before the voxels are read: a corrupt header may ask for more bytes than any machine has.
        wanted = image.dataobj.offset + math.prod(image.shape) * image.get_data_dtype().itemsize
        if len(content) < wanted and content is not packed:
            content = gzip.decompress(packed)  # there may be more members
    except FileNotFoundError:
        raise ImageError("missing file", f"{path}: wanted a NIfTI file, found none; correct the scans table") from None
    except (IsADirectoryError, PermissionError) as error:
        raise ImageError(
            "unreadable file", f"{path}: wanted a readable file, found {error.strerror}; check the path and its rights"
        ) from None
    except (ImageFileError, HeaderDataError, WrapStructError, EOFError, zlib.error, OSError, ValueError) as error:
        raise _corrupt(path, str(error) or type(error).__name__) from error
    if len(content) < wanted or min(image.dataobj.offset, *image.shape) < 0:
        raise _corrupt(path, f"{len(content)} of the {wanted} bytes that its header tells of")
    return image, content


def _decompress(content: bytes) -> bytes | bytearray:
    """Return what a gzip file holds, its checksum verified.

    libdeflate takes a stream in one piece, straight into a buffer of the size that the trailer tells of: the fastest on
    PyPI (`make bench`), and it releases the interpreter lock. It reads the first member alone: a file in several, or a
    broken one, is left to Python's gzip, which reads or refuses it with a reason.
    """
    size = int.from_bytes(content[-4:], "little")
    if size <= _DEFLATE_RATIO * len(content):
        try:
            whole = deflate.gzip_decompress(content)
        except (deflate.DeflateError, ValueError):
            return gzip.decompress(content)
        if len(whole) == size > 0:
            return whole
    return gzip.decompress(content)


def _is_invertible(affine: NDArray[np.float64] | None) -> bool:
    """Whether each voxel axis has a direction of its own in space."""
    from nibabel.orientations import io_orientation

    if affine is None or not np.isfinite(affine).all() or not np.linalg.norm(affine[:3, :3], axis=0).all():
        return False
    return bool(np.linalg.det(affine[:3, :3])) and not np.isnan(io_orientation(affine)).any()


def _corrupt(path: Path, found: str) -> ImageError:
    return ImageError("corrupt file", f"{path}: wanted a whole NIfTI file, found {found}; copy or export it again")
