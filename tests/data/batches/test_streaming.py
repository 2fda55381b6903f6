"""Batches from files: every sample once, in a known order, in little memory."""

import gzip
import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from torchmlp.data import Batches, DataError, StreamingBatches, write_shards
from torchmlp.data.shards.format import StoredArray
from torchmlp.data.shards.reader import ShardFiles

INPUTS = np.random.default_rng(0).integers(0, 256, (103, 2, 3), dtype=np.uint8)
INDICES = np.arange(103)
IDX_CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx(values: np.ndarray, dtype: str = "u1") -> bytes:
    """The bytes of an IDX file, as http://yann.lecun.com/exdb/mnist described them."""
    head = bytes([0, 0, IDX_CODES[dtype], values.ndim])
    return head + struct.pack(f">{values.ndim}I", *values.shape) + values.astype(dtype).tobytes()


def write_idx(folder: Path, name: str, rows: slice, *, compressed: bool) -> tuple[Path, Path]:
    images, labels = folder / f"{name}-images", folder / f"{name}-labels"
    pack: Callable[[bytes], bytes] = gzip.compress if compressed else bytes
    images.write_bytes(pack(idx(INPUTS[rows])))
    labels.write_bytes(pack(idx(INDICES[rows])))
    return images, labels


def write(folder: Path, kind: str, edges: Sequence[int] = (0, 40, 41, 41, 103)) -> list[ShardFiles]:
    """INPUTS and INDICES as shards of one kind, one of them empty."""
    shards: list[ShardFiles] = []
    kinds = ["raw", "gz", "npz", "packed"]
    for number, (first, last) in enumerate(pairwise(edges)):
        rows = slice(first, last)
        this = kinds[number % 4] if kind == "mixed" else kind
        if this in {"raw", "gz"}:
            shards.append(write_idx(folder, f"{number}", rows, compressed=this == "gz"))
        else:
            path = folder / f"{number}.npz"
            save = np.savez if this == "npz" else np.savez_compressed
            save(path, inputs=INPUTS[rows], targets=INDICES[rows])
            shards.append(path)
    return shards


def seen(loader: Any) -> list[list[int]]:
    """The targets of each batch of an epoch; with INDICES as targets, which samples came."""
    return [targets.tolist() for _, targets in loader]


def flat(epoch: list[list[int]]) -> list[int]:
    return [index for batch in epoch for index in batch]


every_kind = pytest.mark.parametrize("kind", ["raw", "gz", "npz", "packed", "mixed"])


@every_kind
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("buffer_size", [1, 16, 200])
def test_every_sample_comes_once(
    tmp_path: Path, kind: str, shuffle: bool, buffer_size: int
) -> None:
    """An epoch holds each row once, with its target: pixels as stored, targets as int64."""
    loader = StreamingBatches(
        write(tmp_path, kind), 10, shuffle=shuffle, buffer_size=buffer_size, block_size=7
    )
    batches = list(loader)
    assert len(batches) == len(loader) == 11
    assert [len(x) for x, _ in batches] == [10] * 10 + [3]
    for x, targets in batches:
        assert (x.dtype, targets.dtype) == (torch.uint8, torch.int64)
        assert x.equal(torch.from_numpy(INPUTS)[targets])
    order = [index for _, targets in batches for index in targets.tolist()]
    assert sorted(order) == list(range(103))
    assert (order == list(range(103))) == (not shuffle)


@every_kind
def test_an_epoch_depends_on_seed_and_number_only(tmp_path: Path, kind: str) -> None:
    """Epochs differ, seeds differ, and a resumed run sees what an uninterrupted one had."""
    shards = write(tmp_path, kind)

    def loader(seed: int) -> StreamingBatches:
        return StreamingBatches(shards, 10, shuffle=True, seed=seed, buffer_size=16, block_size=4)

    whole, resumed = loader(3), loader(3)
    epochs = [seen(whole) for _ in range(4)]
    assert len({tuple(flat(epoch)) for epoch in epochs}) == 4
    torch.manual_seed(1)
    resumed.set_epoch(2)
    assert [seen(resumed), seen(resumed)] == epochs[2:]
    assert seen(loader(4)) not in epochs


def test_an_abandoned_iteration_counts(tmp_path: Path) -> None:
    """An epoch begins with iter(), not with its first batch, and is not disturbed by the next."""
    loader = StreamingBatches(write(tmp_path, "npz"), 10, shuffle=True, buffer_size=16)
    first = iter(loader)
    second = seen(loader)
    loader.set_epoch(0)
    assert [targets.tolist() for _, targets in first] == seen(loader) != second


def test_the_documented_randomness(tmp_path: Path) -> None:
    """A window holds whole blocks from all over the data, and permutes their rows."""
    loader = StreamingBatches(
        write(tmp_path, "raw", (0, 48, 96)), 16, shuffle=True, buffer_size=16, block_size=4
    )
    places = np.zeros((96, 96), dtype=int)
    for _ in range(300):
        epoch = seen(loader)
        for window in epoch:
            blocks = [sorted(i for i in window if i // 4 == b) for b in {i // 4 for i in window}]
            assert sorted(map(len, blocks)) == [4] * 4
        places[np.arange(96), flat(epoch)] += 1
    # Uniform: 300 / 96 times each, variance the same; 96² cells narrow the mean square to 2 %.
    assert np.mean((places - 300 / 96) ** 2) == pytest.approx(300 / 96, rel=0.1)


def test_a_window_as_large_as_the_data_permutes_uniformly(tmp_path: Path) -> None:
    """Neighbours then follow one another as rarely as in any permutation."""
    loader = StreamingBatches(write(tmp_path, "raw"), 103, shuffle=True, block_size=50)
    follow = [np.sum(np.diff(flat(seen(loader))) == 1) for _ in range(200)]
    assert np.mean(follow) == pytest.approx(102 / 103, abs=0.3)


@pytest.mark.parametrize("kind", ["gz", "packed"])
def test_a_compressed_shard_is_shuffled_and_unpacked_once(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows come in another order though it is larger than the window, from one unpacking."""
    shards = write(tmp_path, kind, (0, 50, 103))
    loaded: list[Path] = []
    load = StoredArray.load

    def count(array: Any) -> Any:
        loaded.append(array.path)
        return load(array)

    monkeypatch.setattr(StoredArray, "load", count)
    order = flat(seen(StreamingBatches(shards, 10, shuffle=True, buffer_size=8)))
    assert len(loaded) == 4  # inputs and targets of two shards
    (tmp_path / "small").mkdir()
    small = write(tmp_path / "small", kind, range(0, 104, 8))
    seen(StreamingBatches(small, 10, shuffle=True, buffer_size=30))
    assert len(loaded) == 4 + 2 * len(small)
    inside = [index for index in order if index < 50]
    windows = [set(inside[first : first + 8]) for first in range(0, 48, 8)]
    assert all(max(window) - min(window) > 15 for window in windows)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 60),
    samples_per_shard=st.integers(1, 30),
    batch_size=st.integers(1, 8),
    world_size=st.integers(1, 5),
    buffer_size=st.integers(1, 40),
    block_size=st.integers(1, 9),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
)
def test_ranks_share_the_order_as_batches_do(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    samples_per_shard: int,
    batch_size: int,
    world_size: int,
    buffer_size: int,
    block_size: int,
    shuffle: bool,
    drop_last: bool,
) -> None:
    """Rank r's batches are those that Batches makes for it of the order one process has."""
    if drop_last and count // world_size < batch_size:
        return
    folder = tmp_path_factory.mktemp("data") / "shards"
    shards = write_shards(
        np.zeros((count, 2), np.float32), np.arange(count), folder, samples_per_shard
    )

    def loader(rank: int = 0, of: int = 1, size: int = batch_size, drop: bool = False) -> Any:
        return StreamingBatches(
            shards, size, shuffle=shuffle, seed=1, rank=rank, world_size=of, drop_last=drop,
            buffer_size=buffer_size, block_size=block_size,
        )  # fmt: skip

    order = flat(seen(loader(size=3)))
    assert sorted(order) == list(range(count))
    lengthened = order
    if shuffle:
        lengthened = [order[k % count] for k in range(-(-count // world_size) * world_size)]
    for rank in range(world_size):
        sharded = loader(rank, world_size, drop=drop_last)
        data = torch.zeros(len(lengthened), 1), torch.tensor(lengthened)
        like = Batches(*data, batch_size, rank=rank, world_size=world_size, drop_last=drop_last)
        assert len(sharded) == len(like)
        assert seen(sharded) == seen(like)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("kind", ["npz", "packed"])
def test_workers_change_nothing(tmp_path: Path, kind: str, persistent: bool) -> None:
    """DataLoader workers make one process's batches in its order, whichever epoch is set."""
    shards = write(tmp_path, kind)

    def dataset(rank: int) -> StreamingBatches:
        return StreamingBatches(
            shards, 10, shuffle=True, rank=rank, world_size=2, buffer_size=16, block_size=4
        )

    for rank in range(2):
        alone, shared = dataset(rank), dataset(rank)
        loader = DataLoader(shared, batch_size=None, num_workers=3, persistent_workers=persistent)
        assert len(loader) == len(alone)
        for epoch in (0, 1, 5):
            alone.set_epoch(epoch)
            shared.set_epoch(epoch)
            assert seen(loader) == seen(alone)


@pytest.mark.slow
def test_workers_without_an_epoch_warn(tmp_path: Path) -> None:
    """Workers would repeat an epoch for ever; that is said. (Here, warnings are errors.)"""
    dataset = StreamingBatches(write(tmp_path, "npz"), 10, shuffle=True)
    with pytest.raises(UserWarning, match="workers cannot count epochs; this is epoch 0 until"):
        seen(DataLoader(dataset, batch_size=None, num_workers=2))
    in_order = StreamingBatches(write(tmp_path, "npz"), 10)
    assert flat(seen(DataLoader(in_order, batch_size=None, num_workers=2))) == list(range(103))


def test_in_a_dataloader_without_workers(tmp_path: Path) -> None:
    """The epochs are counted, as without the DataLoader."""
    shards = write(tmp_path, "npz")
    alone = StreamingBatches(shards, 10, shuffle=True)
    loader = DataLoader(StreamingBatches(shards, 10, shuffle=True), batch_size=None)
    assert [seen(loader) for _ in range(3)] == [seen(alone) for _ in range(3)]


@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec")
def test_lightning_trains_on_it(tmp_path: Path) -> None:
    """It is a training dataloader as it is: all its batches, and another order each epoch."""
    from torchmlp._compat.lightning import pl  # noqa: PLC0415  slow to import

    class Recorder(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(6, 2)
            self.epochs: list[list[list[int]]] = [[], []]

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            del batch_idx
            x, targets = batch
            self.epochs[self.current_epoch].append(targets.tolist())
            return self.linear(x.flatten(1).float()).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=1e-9)

    loader = StreamingBatches(write(tmp_path, "npz"), 10, shuffle=True)
    assert not {"sampler", "batch_sampler", "dataset"} & set(dir(loader))
    model = Recorder()
    pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    ).fit(model, loader)  # fmt: skip
    assert [sorted(flat(epoch)) for epoch in model.epochs] == [list(range(103))] * 2
    assert model.epochs[0] != model.epochs[1]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_floating_inputs_keep_their_dtype(tmp_path: Path, dtype: str) -> None:
    """Values come as they were written, in the machine's byte order."""
    values = np.linspace(0, 1, 12, dtype=dtype).reshape(4, 3)
    np.savez(tmp_path / "a.npz", inputs=values, targets=np.arange(4, dtype=np.uint8))
    ((x, targets),) = StreamingBatches([tmp_path / "a.npz"], 4)
    assert x.equal(torch.from_numpy(values.astype(np.dtype(dtype).newbyteorder("="))))
    assert targets.dtype == torch.int64


@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_idx_files_of_floats(tmp_path: Path, dtype: str) -> None:
    """IDX's big-endian types are read, for inputs and for targets."""
    values = np.linspace(0, 1, 12).reshape(4, 3)
    (tmp_path / "x").write_bytes(idx(values, dtype))
    (tmp_path / "y").write_bytes(idx(np.arange(4) * 1000, ">i4"))
    ((x, targets),) = StreamingBatches([(tmp_path / "x", tmp_path / "y")], 4)
    assert x.numpy() == pytest.approx(values, abs=1e-7)
    assert targets.tolist() == [0, 1000, 2000, 3000]


def test_real_mnist_files(full_mnist_root: Path) -> None:
    """MNIST's own files are a shard."""
    raw = full_mnist_root / "MNIST" / "raw"
    pair = raw / "t10k-images-idx3-ubyte", raw / "t10k-labels-idx1-ubyte"
    labels = torch.cat([targets for _, targets in StreamingBatches([pair], 1000)])
    assert labels.tolist() == list(pair[1].read_bytes()[8:])
    x, _ = next(iter(StreamingBatches([pair], 1000)))
    assert x.numpy().tobytes() == pair[0].read_bytes()[16 : 16 + 784000]


def test_batches_own_their_memory(tmp_path: Path) -> None:
    """A batch that is kept keeps no window: batches do not lie side by side in one."""
    (x, targets), (next_x, next_targets), *_ = StreamingBatches(write(tmp_path, "npz"), 10)
    assert next_x.data_ptr() - x.data_ptr() != x.nbytes
    assert next_targets.data_ptr() - targets.data_ptr() != targets.nbytes


def test_a_block_is_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However its rows are permuted, they are read together."""
    module = sys.modules["torchmlp.data.shards.format"]
    fill = module._fill
    reads: list[int] = []

    def count(values: np.ndarray, file: Any) -> None:
        reads.append(len(values))
        fill(values, file)

    monkeypatch.setattr(module, "_fill", count)
    shards = write(tmp_path, "raw", (0, 48, 96))
    seen(StreamingBatches(shards, 10, shuffle=True, buffer_size=16, block_size=4))
    assert sum(reads) == 2 * 96
    assert len(reads) <= 2 * 24


# Shards are written.


@pytest.mark.parametrize("of", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_write_shards_round_trip(tmp_path: Path, of: Callable[[np.ndarray], Any]) -> None:
    """What was written comes back in order; the files are uncompressed, so rows can be read."""
    folder = tmp_path / "new" / "shards"
    paths = write_shards(of(INPUTS), of(INDICES), folder, 50)
    assert [path.name for path in paths] == [f"shard-0000{k}.npz" for k in range(3)]
    assert sorted(folder.parent.rglob("*")) == [folder, *paths]
    loader = StreamingBatches(paths, 103)
    assert not any(shard.compressed for shard in loader._shards)
    ((x, targets),) = loader
    assert x.numpy().tolist() == INPUTS.tolist()
    assert targets.tolist() == INDICES.tolist()


def test_shards_of_transposed_arrays(tmp_path: Path) -> None:
    """Arrays that lie in memory by columns are written by rows."""
    by_columns = np.asfortranarray(INPUTS)
    ((x, _),) = StreamingBatches(write_shards(by_columns, INDICES, tmp_path / "s", 200), 103)
    assert x.numpy().tolist() == INPUTS.tolist()


def test_write_shards_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full after the first shard, nothing is left; an empty folder is taken."""
    folder = tmp_path / "shards"
    savez = np.savez

    def full(file: Any, **arrays: Any) -> None:
        savez(file, **arrays)
        if Path(file.name).name.startswith("shard-00001"):
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(OSError, match="No space left"):
            write_shards(INPUTS, INDICES, folder, 50)
    assert list(tmp_path.iterdir()) == []
    folder.mkdir()
    assert len(write_shards(INPUTS, INDICES, folder, 50)) == 3
    with pytest.raises(ValueError, match="is not empty; name a new folder"):
        write_shards(INPUTS, INDICES, folder, 50)


def test_write_shards_refuses(tmp_path: Path) -> None:
    """What could not be read back is not written."""
    with pytest.raises(ValueError, match="103 inputs and 102 targets"):
        write_shards(INPUTS, INDICES[1:], tmp_path / "s", 10)
    with pytest.raises(ValueError, match="samples_per_shard=0, expected 1 or more"):
        write_shards(INPUTS, INDICES, tmp_path / "s", 0)
    with pytest.raises(DataError, match=r"inputs are int64 of shape .*, expected uint8 pixels or"):
        write_shards(INPUTS.astype(int), INDICES, tmp_path / "s", 10)
    with pytest.raises(DataError, match=r"targets are float64 of shape .*, expected class indices"):
        write_shards(INPUTS, INDICES / 2, tmp_path / "s", 10)
    assert list(tmp_path.iterdir()) == []


# What goes wrong says so.


def test_settings_are_checked(tmp_path: Path) -> None:
    """Settings out of range are refused in the caller's words."""
    shards = write(tmp_path, "npz")
    for name in ("batch_size", "buffer_size", "block_size"):
        wrong: Any = {"batch_size": 1} | {name: 0}
        with pytest.raises(ValueError, match=f"{name}=0, expected an integer of at least 1"):
            StreamingBatches(shards, **wrong)
    with pytest.raises(ValueError, match="rank=2 with world_size=2, expected 0 <= rank < world"):
        StreamingBatches(shards, 1, rank=2, world_size=2)
    with pytest.raises(ValueError, match=r"shards=\[\], expected a list of at least one shard"):
        StreamingBatches([], 1)
    with pytest.raises(ValueError, match=r"shards='a.npz', expected a list"):
        StreamingBatches("a.npz", 1)
    with pytest.raises(ValueError, match="drop_last=True leaves no batch of 103 samples"):
        StreamingBatches(shards, 104, drop_last=True)
    with pytest.raises(ValueError, match=r"expected an .npz file or a pair of IDX files"):
        StreamingBatches([("a", "b", "c")], 1)
    with pytest.raises(ValueError, match="the shards are empty"):
        StreamingBatches(shards[2:3], 1)


@pytest.mark.parametrize("shard", ["a.npz", ("a-images", "a-labels")], ids=["npz", "idx"])
def test_a_missing_file_is_named(tmp_path: Path, shard: Any) -> None:
    """The error says which one, and what to do."""
    files = tmp_path / shard if isinstance(shard, str) else [tmp_path / name for name in shard]
    with pytest.raises(DataError, match=r"a(.npz|-images) is missing.\nWay out: correct its name"):
        StreamingBatches([files], 1)


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": INPUTS, "labels": INDICES}, "a.npz holds images, labels, expected arrays"),
        ({"inputs": INPUTS}, "a.npz holds inputs, expected arrays named inputs and targets"),
        ({"inputs": INPUTS, "targets": INDICES[1:]}, "102 targets for the 103 inputs in .*a.npz"),
        ({"inputs": INPUTS.astype(int), "targets": INDICES}, "a.npz: inputs are int64 of shape"),
        ({"inputs": INPUTS.astype("c8"), "targets": INDICES}, "a.npz: inputs are complex64"),
        ({"inputs": np.uint8(1), "targets": INDICES}, r"inputs are uint8 of shape \(\)"),
        ({"inputs": INPUTS, "targets": INDICES / 1}, "a.npz: targets are float64 of shape"),
        ({"inputs": INPUTS, "targets": INDICES > 1}, "a.npz: targets are bool of shape"),
        ({"inputs": INPUTS, "targets": INDICES.astype("u8")}, "a.npz: targets are uint64 of"),
        ({"inputs": INPUTS, "targets": INDICES[:, None]}, r"targets are int64 of shape \(103, 1\)"),
        ({"inputs": np.asfortranarray(INPUTS), "targets": INDICES}, "stored by columns; write np."),
        ({"inputs": INPUTS.astype(object), "targets": INDICES}, "a.npz"),
    ],
)  # fmt: skip
def test_wrong_arrays_are_named(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    """Names, numbers, dtypes and shapes are checked before training starts."""
    with pytest.raises(DataError, match=f"(?s){message}.*Way out: "):
        StreamingBatches([npz(tmp_path / "a.npz", **arrays)], 1)


@pytest.mark.parametrize("other", [INPUTS[:, :1], INPUTS.astype("f4")], ids=["shape", "dtype"])
def test_shards_are_alike(tmp_path: Path, other: np.ndarray) -> None:
    """A shard whose samples differ from the first's is named."""
    a = npz(tmp_path / "a.npz", inputs=INPUTS, targets=INDICES)
    b = npz(tmp_path / "b.npz", inputs=other, targets=INDICES)
    with pytest.raises(DataError, match=r"(?s)b.npz holds samples of .* as in .*a.npz.*Way out: "):
        StreamingBatches([a, b], 1)


@every_kind
@pytest.mark.parametrize("cut", [0, 3, 10, 0.5, -1])
def test_a_truncated_file_is_an_error(tmp_path: Path, kind: str, cut: float) -> None:
    """At whichever place an interrupted copy ended, no epoch ends well; the file is named."""
    for files in write(tmp_path, kind, (0, 40, 103)):
        paths = [files] if isinstance(files, Path) else files
        assert not isinstance(paths, str | os.PathLike)
        for path in map(Path, paths):
            content = path.read_bytes()
            end = int(cut * len(content)) if isinstance(cut, float) else cut
            path.write_bytes(content[:end])
            with pytest.raises(DataError, match=f"(?s){path.name}.*damaged.*Way out: write or dow"):
                seen(StreamingBatches([files], 10, shuffle=True))
            path.write_bytes(content)


@pytest.mark.parametrize("kind", ["raw", "gz", "npz", "packed"])
def test_a_flipped_bit_is_an_error_of_ours_or_none(tmp_path: Path, kind: str) -> None:
    """Wherever a file is damaged, no foreign exception comes; behind a checksum, no wrong row."""
    (files,) = write(tmp_path, kind, (0, 9))
    path = files if isinstance(files, Path) else tmp_path / "0-images"
    content = path.read_bytes()
    passed = 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            ((x, targets),) = StreamingBatches([files], 9)
        except DataError as error:
            assert path.name in str(error)  # noqa: PT017  some flips are harmless
        else:
            passed += 1
            if kind in {"gz", "packed"}:
                assert (x.tolist(), targets.tolist()) == (INPUTS[:9].tolist(), list(range(9)))
    assert passed < len(content)


@pytest.mark.parametrize("compressed", [False, True])
def test_too_long_a_file_is_an_error(tmp_path: Path, compressed: bool) -> None:
    """Bytes that the header does not tell of are not passed over."""
    images, labels = write_idx(tmp_path, "a", slice(None), compressed=False)
    content = images.read_bytes() + b"\0"
    images.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(DataError, match="a-images cannot be read, or is damaged"):
        seen(StreamingBatches([(images, labels)], 10))


def test_an_array_shorter_than_its_header_says(tmp_path: Path) -> None:
    """In an archive that is whole, too: the rows after it would be another array's."""
    npz(tmp_path / "a.npz", inputs=INPUTS, targets=INDICES)
    with zipfile.ZipFile(tmp_path / "a.npz") as good, zipfile.ZipFile(tmp_path / "b.npz", "w") as b:
        b.writestr("inputs.npy", good.read("inputs.npy")[:-1])
        b.writestr("targets.npy", good.read("targets.npy"))
    with pytest.raises(DataError, match=r"b.npz cannot be read, .*: 745 bytes, expected 746 for"):
        StreamingBatches([tmp_path / "b.npz"], 1)


def test_a_file_that_is_no_idx_file(tmp_path: Path) -> None:
    """Its first bytes are shown beside those expected."""
    (tmp_path / "x").write_bytes(b"PK\3\4")
    with pytest.raises(
        DataError, match="begins with the bytes 50 4b 03 04, expected an IDX file's"
    ):
        StreamingBatches([(tmp_path / "x", tmp_path / "x")], 1)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    """Rows that are no longer there are an error, not rows of rubbish."""
    (path,) = write(tmp_path, "npz", (0, 103))
    loader = StreamingBatches([path], 10, buffer_size=16)
    batches = iter(loader)
    next(batches)
    assert isinstance(path, Path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"0.npz cannot be read, .* the file ends early"):
        list(batches)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_inputs_that_are_not_finite_are_named(tmp_path: Path, save: Callable[..., None]) -> None:
    """NaN is reported with its file and sample instead of spoiling the weights."""
    values = np.zeros((103, 2), np.float32)
    values[70, 1] = np.nan
    save(tmp_path / "a.npz", inputs=values, targets=INDICES)
    with pytest.raises(DataError, match=r"a.npz: sample 70 holds nan, expected finite values"):
        seen(StreamingBatches([tmp_path / "a.npz"], 10, shuffle=True))


# Peak memory is a process's for good, so each measurement has a process of its own.
MEASURE = """
import json, sys
import numpy as np, torch
from torchmlp.data import Batches, StreamingBatches
torch.set_num_threads(1)
way, shards = sys.argv[1], json.loads(sys.argv[2])
if way == "memory":
    arrays = [np.load(path) for path in shards]
    parts = (np.concatenate([a[name] for a in arrays]) for name in ("inputs", "targets"))
    batches = Batches(*map(torch.from_numpy, parts), 64, shuffle=True)
else:
    batches = StreamingBatches(shards, 64, shuffle=True)
print(sum(len(targets) for _, targets in batches))
# Not getrusage's ru_maxrss: a process begins with that of the one that started it.
status = dict(line.split(":") for line in open("/proc/self/status"))
print(status["VmHWM"].removesuffix(" kB\\n"))
"""


def peak_mib(way: str, shards: list[Any], count: int) -> int:
    command = [sys.executable, "-c", MEASURE, way, json.dumps(shards, default=str)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    seen, peak = map(int, run.stdout.split())
    assert seen == count
    return peak // 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    """From 32 to 320 MB of data, streaming peaks at most 16 MiB higher; in memory, 200 or more.

    For one file ten times as long, for ten times as many .npz shards, compressed ones too.
    """
    step = 40_000
    images = np.arange(10 * step, dtype=np.int64)[:, None].astype(np.uint8)
    images, labels = np.broadcast_to(images, (10 * step, 784)), np.arange(10 * step) % 10
    npz = write_shards(images, labels, tmp_path / "npz", step // 4)
    compressed = [tmp_path / f"{k}.npz" for k in range(40)]
    for k, path in enumerate(compressed):
        rows = slice(k * step // 4, (k + 1) * step // 4)
        np.savez_compressed(path, inputs=images[rows], targets=labels[rows])
    raw: dict[int, list[Any]] = {}
    for size in (1, 10):
        raw[size] = [(tmp_path / f"x{size}", tmp_path / f"y{size}")]
        raw[size][0][0].write_bytes(idx(images[: size * step]))
        raw[size][0][1].write_bytes(idx(labels[: size * step]))
    for small, large in ((raw[1], raw[10]), (npz[:4], npz), (compressed[:4], compressed)):
        assert peak_mib("stream", large, 10 * step) - peak_mib("stream", small, step) <= 16
    assert peak_mib("memory", npz, 10 * step) - peak_mib("memory", npz[:4], step) >= 200
