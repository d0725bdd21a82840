"""Photos on a cluster: each machine explains a share, and the results are Parquet files.

    python -m decomcam.ray --photos DIR --text "a cat" --out explained
    python -m decomcam.ray eval --shares 16 --out results -- --annotations instances.json --photos photos --method exact

A *share* is some of the photos: those whose names hash to its number, as ``decomcam explain --shard`` divides them, or a row group of a Parquet file. A worker
of Ray holds one open model, explains a share photo by photo, and writes its results as one Parquet file, which is complete or absent. A run that was
stopped, or that lost a machine, leaves out the shares whose file is there, of the same photos and settings; so no photo is lost and none is there twice, whatever Ray
has to do again. In memory are one share's results and one photo per worker.

``explain`` is the same for a dataset of Ray: rows in, rows out. Needs ``pip install "ray[data]"``; ``decomcam``, the model and the photos must be found under the same
paths on every machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
import time
import urllib.parse
import uuid
from typing import Any, Iterable, Iterator, Mapping, Optional, Sequence, Union

import numpy as np

from . import (
    DecomcamError,
    Explanation,
    ExplanationError,
    OptionsError,
    OutputError,
    PhotoError,
    PromptError,
    Session,
    __version__,
    _native,
)

try:
    import pyarrow as pa
    import pyarrow.fs
    import pyarrow.parquet as pq
    import ray
    import ray.data
except ImportError as error:
    raise ImportError('decomcam.ray: needs Ray with its datasets and pyarrow; pip install "ray[data]"') from error

__all__ = ["Outcome", "SCHEMA", "eval", "explain", "map_of", "parts_of", "run"]

PHOTOS_A_SHARE = 256
"""A stopped run does at most the work of one share again."""
MOST_SHARES = 1_000_000
SHARES_A_CPU = 4
"""So that few photos still occupy all machines until nearly the end."""
# Readers of a folder of Parquet files leave out what begins with a line.
PLAN = "_plan.json"
MAPS = ("f16", "png", "none")

SCHEMA = pa.schema(
    [
        ("photo", pa.string()),
        ("sha256", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("covers_top", pa.int32()),
        ("covers_left", pa.int32()),
        ("covers_height", pa.int32()),
        ("covers_width", pa.int32()),
        ("text", pa.string()),
        ("sentence", pa.string()),
        ("score_name", pa.string()),
        ("score", pa.float32()),
        ("supported", pa.bool_()),
        ("check_passed", pa.bool_()),
        ("warnings", pa.list_(pa.string())),
        ("map", pa.binary()),
        ("map_height", pa.int32()),
        ("map_width", pa.int32()),
        ("map_largest", pa.float32()),
        ("parts_height", pa.int32()),
        ("parts_width", pa.int32()),
        (
            "parts",
            pa.list_(
                pa.struct(
                    [
                        ("number", pa.int32()),
                        ("contribution", pa.float32()),
                        ("weight", pa.float32()),
                        ("map", pa.binary()),
                        ("map_largest", pa.float32()),
                    ]
                )
            ),
        ),
        ("report", pa.string()),
        ("error_kind", pa.string()),
        ("error", pa.string()),
    ]
)
"""A row for each photo. The maps' grids cover the rectangle ``covers`` of it, in pixels; what lies outside the model did not see. ``map`` is the map before it is upsampled, as float16 in units of ``map_largest`` (:func:`map_of` reads it), or a grey PNG of the photo's size; ``report``
is what explanation.json holds, if it was asked for. A photo that failed has ``error_kind`` and ``error``, and nothing else."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    photos: int
    """All that there are."""
    before: int
    """Of these, how many an earlier run had finished, broken ones included."""
    failed: int
    """How many could not be explained, now or before: their rows say why."""
    shares: int
    reasons: "list[str]"
    """The first of them."""
    seconds: float


def map_of(row: Mapping[str, Any]) -> np.ndarray:
    """The map of a row that was written with ``maps="f16"``, height x width of its grid."""
    return _unpacked(row["map"], row["map_height"], row["map_width"], row["map_largest"])


def parts_of(row: Mapping[str, Any]) -> np.ndarray:
    """The OSSMs of a row, parts x height x width of their grid."""
    size = (row["parts_height"], row["parts_width"])
    return np.array([_unpacked(part["map"], *size, part["map_largest"]) for part in row["parts"]], np.float32)


def _unpacked(halves: Optional[bytes], height: int, width: int, largest: float) -> np.ndarray:
    if halves is None:
        raise OptionsError("this row has no map: it was written without, or its photo failed")
    if len(halves) != 2 * height * width:
        raise OptionsError("this row's map is no float16: it was written as PNG")
    return np.frombuffer(halves, "<f2").reshape(height, width).astype(np.float32) * np.float32(largest)


def _packed(values: np.ndarray) -> "tuple[bytes, float]":
    """float16 in units of the largest absolute value, so that nothing overflows and small maps keep their digits."""
    largest = float(np.abs(values).max())
    return (values / np.float32(largest or 1.0)).astype("<f2").tobytes(), largest


def _grey_png(saliency: np.ndarray) -> bytes:
    from PIL import Image

    into = io.BytesIO()
    Image.fromarray(np.round(saliency * 255.0).astype(np.uint8)).save(into, "PNG")
    return into.getvalue()


@dataclasses.dataclass(frozen=True)
class _Settings:
    """What each photo is explained with."""

    model: str
    text: Union[None, str, int]
    maps: str
    report: bool
    session: "dict[str, Any]"
    options: "dict[str, Any]"

    def __post_init__(self) -> None:
        if self.maps not in MAPS:
            raise OptionsError(f'maps: expected one of {", ".join(MAPS)}; found "{self.maps}"')


class _Explainer:
    """An open model that turns photos into rows."""

    def __init__(self, settings: _Settings):
        self.settings = settings
        self.session = Session(settings.model, **settings.session)

    def row(self, name: str, photo: Any, text: Union[None, str, int] = None) -> "dict[str, Any]":
        """Errors of one photo are in its row; those of all are raised."""
        own = text is not None
        of_this_photo = (PhotoError, ExplanationError, PromptError) if own else (PhotoError, ExplanationError)
        try:
            if isinstance(photo, Exception):
                raise PhotoError(str(photo))
            why = self.session.explain(
                photo, text if own else self.settings.text, photo_name=name, **self.settings.options
            )
            return self._told(name, why)
        except of_this_photo as error:
            return {"photo": name, "error_kind": type(error).__name__, "error": str(error)}

    def _told(self, name: str, why: Explanation) -> "dict[str, Any]":
        report, settings = why.report, self.settings
        row = {
            "photo": name,
            "sha256": report["photo"]["sha256"],
            "height": report["photo"]["height"],
            "width": report["photo"]["width"],
            **{f"covers_{side}": pixels for side, pixels in why.covers.items()},
            "text": report["text"],
            "sentence": report["sentence"],
            "score_name": report["scores"]["reported"]["name"],
            "score": report["scores"]["reported"]["value"],
            "supported": (report["support"] or {}).get("supported"),
            "check_passed": (report["check"] or {}).get("passed"),
            "warnings": report["warnings"],
            "parts": [],
            "report": json.dumps(report, ensure_ascii=False) if settings.report else None,
        }
        if settings.maps == "f16":
            row["map"], row["map_largest"] = _packed(why.grid)
            row["map_height"], row["map_width"] = why.grid.shape
        elif settings.maps == "png":
            row["map"], row["map_largest"] = _grey_png(why.saliency), 1.0
            row["map_height"], row["map_width"] = why.saliency.shape
        for part in why.parts:
            halves, largest = _packed(part.map) if settings.maps != "none" else (None, None)
            row["parts_height"], row["parts_width"] = part.map.shape
            row["parts"].append(
                {
                    "number": part.number,
                    "contribution": part.contribution,
                    "weight": part.weight,
                    "map": halves,
                    "map_largest": largest,
                }
            )
        return row


# A dataset: rows in, rows out


def explain(
    dataset: "ray.data.Dataset",
    text: Union[None, str, int] = None,
    *,
    model: Union[str, "os.PathLike[str]"] = "lite",
    photo_column: Optional[str] = None,
    text_column: Optional[str] = None,
    name_column: Optional[str] = None,
    maps: str = "f16",
    report: bool = False,
    session: Optional[Mapping[str, Any]] = None,
    num_cpus: float = 1,
    compute: Any = None,
    batch_size: int = 8,
    **options: Any,
) -> "ray.data.Dataset":
    """Explains each row of a dataset; the result has the columns of :data:`SCHEMA`, and is computed when it is consumed.

    ``photo_column`` holds the bytes of a file, a height x width x 3 array of uint8, or a path that every machine can open; without it the first of ``bytes``, ``image``
    and ``path`` that there is. ``name_column`` names the photos; without it a column ``path`` does, or else a hash of each photo. ``text_column`` asks something else of each
    photo. ``session`` are choices of
    :class:`decomcam.Session`, ``options`` those of :meth:`decomcam.Session.explain`; ``num_cpus`` and ``compute`` are those of ``map_batches``; without it
    every core but one, which reads, holds an actor.
    """
    settings = _settings(model, text, maps, report, session, num_cpus, options)
    columns = dataset.schema().names
    photo_column = photo_column or next((name for name in ("bytes", "image", "path") if name in columns), None)
    name_column = name_column or ("path" if "path" in columns else None)
    for column in (photo_column, text_column, name_column):
        if column is not None and column not in columns:
            raise OptionsError(f'expected a column "{column}", found {", ".join(columns)}')
    if photo_column is None:
        raise OptionsError(f"expected a column bytes, image or path, found {', '.join(columns)}; give photo_column")
    return dataset.map_batches(
        _Rows,
        fn_constructor_args=(settings, photo_column, text_column, name_column),
        batch_size=batch_size,
        batch_format="numpy",
        num_cpus=num_cpus,
        compute=compute or ray.data.ActorPoolStrategy(size=max(1, _workers(num_cpus) - 1)),
    )


class _Rows:
    """What an actor of ``explain`` is."""

    def __init__(self, settings: _Settings, photo_column: str, text_column: Optional[str], name_column: Optional[str]):
        self.explainer = _Explainer(settings)
        self.photo_column, self.text_column, self.name_column = photo_column, text_column, name_column

    def __call__(self, batch: "dict[str, np.ndarray]") -> "pa.Table":
        photos = batch[self.photo_column]
        names = batch[self.name_column] if self.name_column else map(_hash_name, photos)
        texts = batch[self.text_column] if self.text_column else [None] * len(photos)
        rows = [self.explainer.row(str(name), photo, text) for name, photo, text in zip(names, photos, texts)]
        return pa.Table.from_pylist(rows, SCHEMA)


def _hash_name(photo: Any) -> str:
    """A name for a photo that has none: the same wherever and whenever it is explained."""
    if isinstance(photo, str):
        return photo
    if isinstance(photo, np.ndarray):
        data = photo.tobytes()
    else:
        # What is no photo is refused when it is explained, in words of its own.
        data = photo if isinstance(photo, bytes) else repr(photo).encode()
    return f"photo {hashlib.sha256(data).hexdigest()[:16]}"


def _workers(num_cpus: float) -> int:
    """How many fit into the cluster at once."""
    return max(1, int(ray.cluster_resources().get("CPU", 1) // max(num_cpus, 1e-3)))


def _settings(model, text, maps, report, session, num_cpus, options) -> _Settings:
    session = {"threads": max(1, int(num_cpus)), **(session or {})}
    return _Settings(os.fspath(model), text, maps, report, session, dict(options))


# Photos wherever they lie: results in Parquet files, exactly one row each


def run(
    photos: Union[str, Sequence[str]],
    out: str,
    text: Union[None, str, int] = None,
    *,
    model: Union[str, "os.PathLike[str]"] = "lite",
    photo_column: Optional[str] = None,
    text_column: Optional[str] = None,
    maps: str = "f16",
    report: bool = False,
    session: Optional[Mapping[str, Any]] = None,
    shares: Optional[int] = None,
    num_cpus: float = 1,
    told: Any = None,
    **options: Any,
) -> Outcome:
    """Explains all photos and writes a Parquet file for each share into ``out``; columns are those of :data:`SCHEMA`.

    ``photos`` are files, folders, patterns, and Parquet files (``photo_column`` holds a file's bytes, or a struct with ``bytes`` and ``path``, as Hugging Face writes
    it); they and ``out`` may be addresses such as ``s3://bucket/folder``. A second run with the same arguments does what is missing; one with others is refused. ``told`` is
    called with (photos done, photos, failed) after each share.
    """
    begun = time.monotonic()
    if shares is not None and not 1 <= shares <= MOST_SHARES:
        raise OptionsError(f"shares: expected 1 to {MOST_SHARES}, found {shares}")
    settings = _settings(model, text, maps, report, session, num_cpus, options)
    given = [photos] if isinstance(photos, (str, os.PathLike)) else list(photos)
    given = [os.fspath(path) for path in given]
    store = _Store(out)
    columns = (photo_column, text_column)
    plan = store.plan(
        {
            "version": __version__,
            "model_sha256": Session(settings.model, **settings.session)._native.model_sha256,
            "photos": given,
            "columns": list(columns),
            **{name: getattr(settings, name) for name in ("model", "text", "maps", "report")},
            # How many threads compute changes no bit.
            **{f"session.{name}": value for name, value in settings.session.items() if name != "threads"},
            **settings.options,
        }
    )
    if shares is not None and plan.get("shares", shares) != shares:
        raise OutputError(f"{out}: holds results in {plan['shares']} shares, not {shares}; leave the number out, or give another folder")
    found, tables = _found(given, out)
    plan["shares"] = plan.get("shares") or shares or _usual_shares(len(found))
    work = list(_shares(found, tables, plan["shares"], columns))
    store.keep(plan)
    key = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]
    done = store.parts({share.file: share.digest(key) for share in work})
    missing = [share for share in work if share.file not in done]
    counts = {"photos": sum(part["photos"] for part in done.values()), "failed": sum(part["failed"] for part in done.values())}
    reasons = [reason for part in done.values() for reason in part["reasons"]]
    before, total = counts["photos"], sum(share.count for share in work)
    task = ray.remote(num_cpus=num_cpus, max_retries=-1)(_shared)
    for part in _results(task, [(settings, out, key, columns, share) for share in missing], num_cpus):
        if isinstance(part, tuple):
            kind, message = part
            raise getattr(_native, kind, DecomcamError)(message)
        counts = {name: counts[name] + part[name] for name in counts}
        reasons += part["reasons"]
        if told is not None:
            told(counts["photos"], total, counts["failed"])
    written = store.parts({share.file: share.digest(key) for share in work}, clean=True)
    rows = sum(part["photos"] for part in written.values())
    if len(written) != len(work) or rows != total:
        raise OutputError(f"{out}: expected {total} rows in {len(work)} files, found {rows} in {len(written)}; run it again")
    failed = sum(part["failed"] for part in written.values())
    return Outcome(total, before, failed, len(work), reasons[:REASONS], time.monotonic() - begun)


REASONS = 20
"""How many an outcome names."""


@dataclasses.dataclass(frozen=True)
class _Share:
    """Some of the photos: named ones, or a row group of a Parquet file."""

    name: str
    """3/16, or FILE#2."""
    file: str
    count: int
    state: str
    """A hash of names, lengths and times of change: who changes a photo changes it."""
    photos: "Sequence[str]" = ()
    table: Optional[str] = None
    group: int = 0

    def digest(self, key: str) -> str:
        return f"{key} {self.name} {self.count} {self.state}"


def _found(given: Sequence[str], out: str) -> "tuple[dict[str, str], dict[str, str]]":
    """Photos and Parquet files by name, each with what changes when the file does."""
    photos: "dict[str, str]" = {}
    tables: "dict[str, str]" = {}
    for path in given:
        for name, state in _listed(path, out):
            (tables if _is_table(name) else photos)[name] = state
    if not photos and not tables:
        raise PhotoError(f"{', '.join(given)}: expected photos or Parquet files, found none")
    return photos, tables


def _usual_shares(photos: int) -> int:
    return max(-(-photos // PHOTOS_A_SHARE), min(photos, SHARES_A_CPU * _workers(1)), 1)


def _shares(photos: "dict[str, str]", tables: "dict[str, str]", number: int, columns: "tuple[Optional[str], Optional[str]]") -> Iterator[_Share]:
    divided: "dict[int, list[str]]" = {}
    for name in sorted(photos):
        divided.setdefault(_native.share_of(name, number), []).append(name)
    for at, names in sorted(divided.items()):
        state = _hash(f"{name}\0{photos[name]}\n" for name in names)
        yield _Share(f"{at}/{number}", f"part-{at:06}-of-{number:06}.parquet", len(names), state, names)
    for name, state in sorted(tables.items()):
        with _opened(name) as file:
            parquet = _table(name, file)
            _columns(name, parquet, columns)
            for group in range(parquet.num_row_groups):
                own = f"{name}#{group}"
                rows = parquet.metadata.row_group(group).num_rows
                yield _Share(own, f"part-{_hash([own])}.parquet", rows, _hash([state]), table=name, group=group)


def _hash(texts: Iterable[str]) -> str:
    found = hashlib.sha256()
    for text in texts:
        found.update(text.encode(errors="surrogateescape"))
    return found.hexdigest()[:16]


def _listed(given: str, out: str) -> Iterator["tuple[str, str]"]:
    """Names of photos and tables, each with what changes when its file does."""
    state = lambda info: f"{info.size} {info.mtime_ns}"
    if "://" in given:
        system, path = _system(given)
        # What an address says beside the path, such as the region of a bucket, holds for all below it.
        address, mark, query = given.partition("?")
        prefix = address.split("://")[0] + "://"
        info = system.get_file_info(path)
        if info.type == pa.fs.FileType.NotFound:
            raise PhotoError(f"{given}: expected a file or a folder, found none")
        if info.type == pa.fs.FileType.File:
            yield given, state(info)
            return
        for info in system.get_file_info(pa.fs.FileSelector(path, recursive=True)):
            hidden = any(part.startswith((".", "_")) for part in info.path[len(path) :].split("/"))
            if info.type == pa.fs.FileType.File and not hidden and (_is_table(info.path) or _native.named_as_photo(info.path)):
                yield prefix + urllib.parse.quote(info.path) + mark + query, state(info)
        return
    local = None if "://" in out else out
    found = [given] if os.path.isfile(given) and _is_table(given) else _tables(given, out)
    try:
        found += [os.fspath(path) for path in _native.photos([given], local)] if found != [given] else []
    except PhotoError:
        if not found:
            raise
    for path in found:
        try:
            status = os.stat(path)
        except OSError as error:
            raise PhotoError(f"{path}: {error.strerror}") from error
        yield path, f"{status.st_size} {status.st_mtime_ns}"


def _is_table(name: str) -> bool:
    return name.partition("?")[0].lower().endswith(".parquet")


def _tables(folder: str, out: str) -> "list[str]":
    """The Parquet files in a folder; none in a file."""
    found = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")) and os.path.abspath(os.path.join(root, name)) != os.path.abspath(out))
        found += [os.path.join(root, name) for name in sorted(files) if _is_table(name)]
    return found


def _system(path: str) -> "tuple[Any, str]":
    try:
        if "://" in path:
            return pa.fs.FileSystem.from_uri(path)
        return pa.fs.LocalFileSystem(), os.path.abspath(path)
    except (pa.ArrowException, ValueError) as error:
        raise PhotoError(f"{path}: {error}") from error


def _opened(path: str) -> Any:
    system, path = _system(path)
    return system.open_input_file(path)


def _table(name: str, file: Any) -> "pq.ParquetFile":
    try:
        return pq.ParquetFile(file)
    except pa.ArrowException as error:
        raise PhotoError(f"{name}: expected a Parquet file: {error}") from error


def _columns(name: str, parquet: "pq.ParquetFile", columns: "tuple[Optional[str], Optional[str]]") -> "list[str]":
    """The column of the photos, those of names and texts if there are any."""
    schema, (photo, text) = parquet.schema_arrow, columns
    holds = lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)
    if photo is None:
        photo = next((field.name for field in schema if holds(field.type)), None)
        if photo is None:
            raise PhotoError(f"{name}: expected a column with the bytes of photos, found {', '.join(schema.names)}; give photo_column")
    for column in (photo, text):
        if column is not None and column not in schema.names:
            raise PhotoError(f'{name}: expected a column "{column}", found {", ".join(schema.names)}')
    return [column for column in dict.fromkeys((photo, text, "path")) if column in schema.names]


def _results(task: Any, calls: "list[tuple]", num_cpus: float) -> Iterator[Any]:
    """What the tasks return, as they end: twice as many wait as there is room for, so that machines which come have work. Ray does a task again whose machine was lost."""
    waiting: "list[Any]" = []
    left = iter(calls)
    try:
        while True:
            for call in itertools.islice(left, max(0, 2 * _workers(num_cpus) - len(waiting))):
                waiting.append(task.remote(*call))
            if not waiting:
                return
            ready, waiting = ray.wait(waiting)
            yield from ray.get(ready)
    finally:
        for unfinished in waiting:
            ray.cancel(unfinished, force=True)


_open: "list[_Explainer]" = []
"""The model that this worker has open; the next share that it is given finds it there."""


def _shared(settings: _Settings, out: str, key: str, columns: "tuple[Optional[str], Optional[str]]", share: _Share) -> "Union[dict, tuple[str, str]]":
    """Explains a share and writes its file; returns what the file says of itself, or kind and message of an error that concerns all photos."""
    try:
        store, digest = _Store(out), share.digest(key)
        # Ray may run it again where a machine that had finished it was lost.
        part = store.part(share.file, digest)
        if part is not None:
            return part
        if not _open or _open[0].settings != settings:
            _open[:] = [_Explainer(settings)]
        rows = [_open[0].row(*photo) for photo in _photos(share, columns)]
        failures = [row["error"] for row in rows if row.get("error_kind")]
        node = ray.get_runtime_context().get_node_id()
        part = {"digest": digest, "photos": len(rows), "failed": len(failures), "reasons": failures[:REASONS], "node": node}
        store.write(share.file, pa.Table.from_pylist(rows, SCHEMA), part)
        return part
    except DecomcamError as error:
        return type(error).__name__, str(error)


def _photos(share: _Share, columns: "tuple[Optional[str], Optional[str]]") -> Iterator["tuple[str, Any, Union[None, str, int]]"]:
    """Names, bytes or why there are none, and texts of their own."""
    if share.table is None:
        for name in share.photos:
            try:
                with _opened(name) as file:
                    contents: Any = file.read()
            except OSError as error:
                contents = error
            yield name, contents, None
        return
    with _opened(share.table) as file:
        parquet = _table(share.table, file)
        read = _columns(share.table, parquet, columns)
        at = 0
        for batch in parquet.iter_batches(16, row_groups=[share.group], columns=read):
            for row in batch.to_pylist():
                photo, text, name = row[read[0]], row.get(columns[1] or ""), row.get("path")
                if isinstance(photo, dict):
                    photo, name = photo["bytes"], name or photo.get("path")
                missing = PhotoError(f"{share.name}: row {at} has no photo")
                yield name or f"{share.name}:{at}", missing if photo is None else photo, text
                at += 1


class _Store:
    """The folder of the results: files that are complete or absent."""

    def __init__(self, out: str):
        self.out = os.fspath(out)
        self.system, self.path = _system(self.out)

    def _read(self, name: str) -> Optional[bytes]:
        try:
            with self.system.open_input_file(f"{self.path}/{name}") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _publish(self, name: str, contents: Any) -> None:
        try:
            self.system.create_dir(self.path, recursive=True)
            # Hidden from those who read the folder.
            unfinished = f"{self.path}/.{name}-{uuid.uuid4().hex}.tmp"
            with self.system.open_output_stream(unfinished) as file:
                file.write(contents)
            self.system.move(unfinished, f"{self.path}/{name}")
        except OSError as error:
            raise OutputError(f"{self.out}/{name}: {error}") from error

    def plan(self, settings: "dict[str, Any]") -> "dict[str, Any]":
        """The settings, with the number of shares of an earlier run, which must have been the same."""
        settings = json.loads(json.dumps(settings))
        written = self._read(PLAN)
        if written is None:
            return settings
        earlier = json.loads(written)
        for name in (settings | earlier).keys() - {"shares"}:
            was, now = (json.dumps(those[name]) if name in those else "not given" for those in (earlier, settings))
            if was != now:
                raise OutputError(f"{self.out}: holds results of another run, whose {name} was {was} and not {now}; give another folder, or empty this one")
        return earlier

    def keep(self, plan: "dict[str, Any]") -> None:
        self._publish(PLAN, json.dumps(plan, indent=1).encode())

    def write(self, name: str, table: "pa.Table", part: "dict[str, Any]") -> None:
        into = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata({b"decomcam": json.dumps(part).encode()}), into, compression="zstd")
        self._publish(name, into.getvalue())

    def part(self, name: str, digest: str) -> "Optional[dict[str, Any]]":
        """What the file of a share says of itself, if it is there and of these photos and settings."""
        try:
            with self.system.open_input_file(f"{self.path}/{name}") as file:
                metadata = pq.read_schema(file).metadata or {}
            part = json.loads(metadata.get(b"decomcam", b"{}"))
            return part if part.get("digest") == digest else None
        except (FileNotFoundError, pa.ArrowException, ValueError):
            return None

    def parts(self, digests: "Mapping[str, str]", clean: bool = False) -> "dict[str, dict[str, Any]]":
        """Those that are there; ``clean`` removes files of photos that are gone, and what a stopped run left unfinished."""
        selector = pa.fs.FileSelector(self.path, allow_not_found=True)
        there = [info.base_name for info in self.system.get_file_info(selector) if info.type == pa.fs.FileType.File]
        for name in there if clean else []:
            if (name.startswith("part-") and name not in digests) or (name.startswith(".") and name.endswith(".tmp")):
                self.system.delete_file(f"{self.path}/{name}")
        found = {name: self.part(name, digests[name]) for name in there if name in digests}
        return {name: part for name, part in found.items() if part is not None}


# Evaluation: the command itself, share by share


def eval(arguments: Sequence[str], out: str, *, shares: int = 16, num_cpus: float = 1, told: Any = None) -> str:
    """``decomcam eval`` with these arguments, each share on a machine, merged into the ``results.json`` of one machine. Returns what the command prints.

    ``out`` is a folder that all machines see. A share that was stopped goes on where it was.
    """
    if "://" in out:
        raise OptionsError(f"{out}: expected a folder that all machines see; eval writes no addresses")
    given = [argument.split("=")[0] for argument in arguments]
    for taken in ("--out", "-o", "--shard", "--merge", "--threads"):
        if taken in given:
            raise OptionsError(f"{taken}: is set for each share; leave it out")
    out = os.path.abspath(out)
    folders = [os.path.join(out, "shares", f"{at:06}-of-{shares:06}") for at in range(1, shares + 1)]
    command = [sys.executable, "-m", "decomcam", "eval", *arguments, "--threads", str(max(1, int(num_cpus)))]
    task = ray.remote(num_cpus=num_cpus, max_retries=-1)(_evaluated)
    calls = [([*command, "--quiet", "--shard", f"{at}/{shares}", "--out", folder], os.getcwd()) for at, folder in enumerate(folders, 1)]
    for done, (code, said) in enumerate(_results(task, calls, num_cpus), 1):
        if code != 0:
            raise DecomcamError(said.strip())
        if told is not None:
            told(done, shares, 0)
    code, said = _evaluated([*command, "--merge", *folders, "--out", out], os.getcwd())
    if code != 0:
        raise DecomcamError(said.strip())
    return said


def _evaluated(command: "list[str]", directory: str) -> "tuple[int, str]":
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


# The command


def _value(text: str) -> "tuple[str, Any]":
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found {text}")
    try:
        return name.strip().replace("-", "_"), json.loads(value)
    except ValueError:
        return name.strip().replace("-", "_"), value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m decomcam.ray",
        description="Explains photos on the machines of a Ray cluster and writes Parquet files. A run that was stopped goes on where it was.",
        epilog='Evaluation: python -m decomcam.ray eval --shares 16 --out DIR -- ARGUMENTS of "decomcam eval"',
    )
    parser.add_argument("--photos", required=True, nargs="+", metavar="PATH", help="photos, folders, patterns, Parquet files; s3://bucket/folder, too")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the Parquet files go; s3://bucket/folder, too")
    parser.add_argument("--text", "-t", help='words such as "a cat", or a class; without it the class that is predicted')
    parser.add_argument("--model", "-m", default="lite", help="a bundled model, a folder or an ONNX or .tflite file [default: lite]")
    parser.add_argument("--photo-column", metavar="NAME", help="the column of Parquet files with the photos [default: the first of bytes]")
    parser.add_argument("--text-column", metavar="NAME", help="a column with what is asked of each photo")
    parser.add_argument("--maps", choices=MAPS, default="f16", help="how maps are kept: their grid as 16-bit floats, or a grey PNG of the photo's size [default: f16]")
    parser.add_argument("--report", action="store_true", help="also keep what explanation.json holds")
    parser.add_argument("--set", type=_value, action="append", default=[], metavar="NAME=VALUE", help="a choice of Session.explain, such as method=grad-cam or check=false")
    parser.add_argument("--session", type=_value, action="append", default=[], metavar="NAME=VALUE", help="a choice of Session, such as labels=labels.txt")
    parser.add_argument("--shares", type=int, help=f"how many; a stopped run loses at most the work on one [default: {PHOTOS_A_SHARE} photos each, at least {SHARES_A_CPU} per core]")
    _cluster(parser)
    return parser


def _eval_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m decomcam.ray eval", description="Measures methods on the machines of a Ray cluster, with the results of one machine to the last digit."
    )
    parser.add_argument("--shares", type=int, default=16, help="how many [default: 16]")
    parser.add_argument("--out", required=True, metavar="DIR", help="a folder that all machines see")
    _cluster(parser)
    parser.add_argument("arguments", nargs="+", metavar="ARGUMENT", help='what "decomcam eval" takes, behind --')
    return parser


def _cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", help="of the cluster [default: RAY_ADDRESS, else this machine alone]")
    parser.add_argument("--cpus", type=float, default=1, help="cores of each worker [default: 1]")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command; returns its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    evaluation = arguments[:1] == ["eval"]
    args = _eval_parser().parse_args(arguments[1:]) if evaluation else _parser().parse_args(arguments)
    terminal = sys.stderr.isatty()

    def told(done: int, of: int, failed: int) -> None:
        if terminal:
            unit = "shares" if evaluation else "photos"
            print(f"\r{done} of {of} {unit}" + (f", {failed} failed" if failed else ""), end="", file=sys.stderr, flush=True)

    try:
        if not ray.is_initialized():
            ray.init(address=args.address, log_to_driver=False, logging_level="warning")
        if evaluation:
            print(eval(args.arguments, args.out, shares=args.shares, num_cpus=args.cpus, told=told), end="")
            return 0
        outcome = run(
            args.photos,
            args.out,
            args.text,
            model=args.model,
            photo_column=args.photo_column,
            text_column=args.text_column,
            maps=args.maps,
            report=args.report,
            session=dict(args.session),
            shares=args.shares,
            num_cpus=args.cpus,
            told=told,
            **dict(args.set),
        )
    except (DecomcamError, ConnectionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, OptionsError) else 1
    finally:
        if terminal:
            print(file=sys.stderr)
    before = f" ({outcome.before} before)" if outcome.before else ""
    print(f"{outcome.photos - outcome.failed} of {outcome.photos} photos explained{before} in {outcome.seconds:.0f} s: {args.out}")
    for reason in outcome.reasons:
        print(f"  failed: {reason}")
    if outcome.failed > len(outcome.reasons):
        print(f"  and {outcome.failed - len(outcome.reasons)} more: their rows have a column `error`")
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    # Under the name by which workers import it.
    from decomcam.ray import main as imported

    sys.exit(imported())
