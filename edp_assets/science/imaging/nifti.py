"""Reading one NIfTI file into a volume in RAS+ orientation; nothing about organs or masks belongs here."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GZIP_MAGIC = b"\x1f\x8b"


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
        data: (n_x, n_y, n_z), as stored, or scaled by the header's slope and intercept.
        affine: (4, 4), voxel indices to millimetres.
        name: what error messages call it, usually its path.
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]
    name: str = "volume"


def read_volume(path: Path | str) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file, plain or gzipped, and reorient it to RAS+.

    Axes are permuted and flipped as the affine says (`nibabel.as_closest_canonical`); nothing is interpolated. The
    whole gzip stream is read, so that its checksum is verified. A 4D file whose last axis has length 1 is taken as 3D.
    Where neither sform nor qform is set the orientation is not known, and nibabel's reading (L, A, S) is kept.

    Raises:
        ImageError: "missing file", "unreadable file", "corrupt file", "not a scalar image", "not a 3D image" or
            "bad affine".
    """
    import nibabel

    image = _parse(Path(path))
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
    data = np.asanyarray(image.dataobj).reshape(shape)
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(data, affine, dtype=data.dtype))
    return Volume(np.asanyarray(canonical.dataobj), np.asarray(canonical.affine, dtype=np.float64), str(path))


def _parse(path: Path) -> Any:
    """Return the nibabel image of a file; gzip is told by its first bytes, the NIfTI version by the header's size."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        content = path.read_bytes()
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
        header_bytes = {int.from_bytes(content[:4], order) for order in ("little", "big")}
        image_class = nibabel.Nifti2Image if nibabel.Nifti2Header.sizeof_hdr in header_bytes else nibabel.Nifti1Image
        image: Any = image_class.from_bytes(content)
    except FileNotFoundError:
        raise ImageError("missing file", f"{path}: wanted a NIfTI file, found none; correct the scans table") from None
    except (IsADirectoryError, PermissionError) as error:
        raise ImageError(
            "unreadable file", f"{path}: wanted a readable file, found {error.strerror}; check the path and its rights"
        ) from None
    except (ImageFileError, HeaderDataError, WrapStructError, EOFError, zlib.error, OSError, ValueError) as error:
        raise _corrupt(path, str(error) or type(error).__name__) from error
    # Counted before the voxels are read: a corrupt header may ask for more bytes than any machine has.
    wanted = image.dataobj.offset + math.prod(image.shape) * image.get_data_dtype().itemsize
    if len(content) < wanted or min(image.dataobj.offset, *image.shape) < 0:
        raise _corrupt(path, f"{len(content)} of the {wanted} bytes that its header tells of")
    return image


def _is_invertible(affine: NDArray[np.float64] | None) -> bool:
    """Whether each voxel axis has a direction of its own in space."""
    from nibabel.orientations import io_orientation

    if affine is None or not np.isfinite(affine).all() or not np.linalg.norm(affine[:3, :3], axis=0).all():
        return False
    return bool(np.linalg.det(affine[:3, :3])) and not np.isnan(io_orientation(affine)).any()


def _corrupt(path: Path, found: str) -> ImageError:
    return ImageError("corrupt file", f"{path}: wanted a whole NIfTI file, found {found}; copy or export it again")
