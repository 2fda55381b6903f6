"""Data sets in memory (torchvision's, and the digits that ship here) or in files; minibatches."""

from torchmlp._compat.torchvision_repair import import_torchvision
from torchmlp.data.batches.in_memory import Batches
from torchmlp.data.batches.streaming import StreamingBatches
from torchmlp.data.distortions import distort_images
from torchmlp.data.errors import DataError, EmbeddedDataWarning
from torchmlp.data.images.dataset import Images
from torchmlp.data.images.embedded import read_embedded
from torchmlp.data.images.load import load_images, prepare_images
from torchmlp.data.labels import check_labels
from torchmlp.data.shards.writer import write_shards
from torchmlp.data.split import split_validation
from torchmlp.data.transforms import scale_pixels, shift_images

__all__ = [
    "Batches",
    "DataError",
    "EmbeddedDataWarning",
    "Images",
    "StreamingBatches",
    "check_labels",
    "distort_images",
    "import_torchvision",
    "load_images",
    "prepare_images",
    "read_embedded",
    "scale_pixels",
    "shift_images",
    "split_validation",
    "write_shards",
]
