"""Images with instance masks: COCO annotations, synthetic fields, augmentation.

Needs NumPy and Pillow, but not PyTorch.
"""

try:
    from pyifcn.data import augment
    from pyifcn.data.checks import DataError
    from pyifcn.data.coco import CocoInstances, write_coco
    from pyifcn.data.files import written_whole
    from pyifcn.data.images import ImageError, decode_image, read_image
    from pyifcn.data.nuclei import SyntheticNuclei
    from pyifcn.data.sample import Sample, Truth
    from pyifcn.data.shapes import SyntheticShapes
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "PIL":
        raise
    raise ImportError(
        f'pyifcn.data needs {error.name}; install it with: pip install "pyifcn[models]"'
    ) from None

__all__ = [
    "CocoInstances",
    "DataError",
    "ImageError",
    "Sample",
    "SyntheticNuclei",
    "SyntheticShapes",
    "Truth",
    "augment",
    "decode_image",
    "read_image",
    "write_coco",
    "written_whole",
]
