"""Why a vision model gave its score, part by part.

    import decomcam

    why = decomcam.explain("cat.jpg", text="a cat")    # the bundled model; a path, bytes, a picture of PIL, or an H x W x 3 array
    why.saliency                                       # H x W of the photo, 0 to 1
    why.parts[0].map, why.parts[0].contribution
    why                                                # in a notebook: the picture

``Session`` opens a model once and explains many photos. ``decompose`` and ``cam`` take activations and gradients that you computed yourself, and
``decomcam.torch`` has the interface of pytorch-grad-cam.
"""

from __future__ import annotations

import base64
import collections
import concurrent.futures
import html
import json
import operator
import os
import tempfile
import types
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from . import _native
from ._native import (
    DatasetError,
    DecomcamError,
    ExplanationError,
    ModelError,
    OptionsError,
    OutputError,
    PhotoError,
    PromptError,
    __version__,
)

__all__ = [
    "DatasetError",
    "DecomcamError",
    "Decomposition",
    "Explanation",
    "ExplanationError",
    "ModelError",
    "OptionsError",
    "OutputError",
    "Part",
    "PhotoError",
    "PromptError",
    "Ranked",
    "Session",
    "__version__",
    "cam",
    "decompose",
    "explain",
]

Photo = Union[str, "os.PathLike[str]", bytes, np.ndarray, Any]


def _photo(photo: Photo) -> Any:
    """A picture of PIL becomes an array; the rest is left to the library."""
    if hasattr(photo, "convert") and hasattr(photo, "getbands"):
        return np.ascontiguousarray(np.asarray(photo.convert("RGB"), dtype=np.uint8))
    if isinstance(photo, (bytearray, memoryview)):
        return bytes(photo)
    return photo


def _maps(name: str, values: Any) -> np.ndarray:
    """Channels x height x width in float32, without a copy where that is what they are."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    values = np.ascontiguousarray(values, dtype=np.float32)
    if values.ndim != 3:
        raise OptionsError(f"{name}: expected channels x height x width, found an array of shape {values.shape}")
    return values


@dataclass(frozen=True)
class Part:
    """One OSSM and what it contributes to the score."""

    number: int
    """1 for the part with the largest singular value."""
    map: np.ndarray
    """Height x width of the grid, not negative. The grid covers not the whole photo, but :attr:`Explanation.covers`."""
    contribution: float
    """The explained score with this part kept and the rest hidden, less the score with everything hidden."""
    weight: float
    """Its weight in the saliency map."""
    report: dict
    """All its numbers, as in explanation.json."""
    _explanation: _native.Explanation = field(repr=False, compare=False)

    @property
    def saliency(self) -> np.ndarray:
        """Height x width of the photo: the map as it is drawn, upsampled and refined, not scaled; zero where the network did not see the photo."""
        return self._explanation.part_saliency(self.number)


@dataclass(frozen=True)
class Ranked:
    """A text, and how well it fits a photo."""

    text: str
    score: float
    """The reported score."""
    probability: Optional[float]
    """Among the texts given; None if the model states no scale."""


class Explanation:
    """Why a photo got its score."""

    def __init__(self, native: _native.Explanation):
        self._native = native
        self.report: dict = json.loads(native.json())
        """What explanation.json holds (its schema is in the repository)."""

    @property
    def saliency(self) -> np.ndarray:
        """Height x width of the photo, from 0 to 1; zero where the network did not see the photo."""
        return self._native.saliency

    @property
    def grid(self) -> np.ndarray:
        """The map before it is upsampled. With the default method it is negative where the photo speaks against the score."""
        return self._native.grid

    @property
    def covers(self) -> dict:
        """The rectangle of the photo, in pixels, that ``grid`` and the parts' maps cover: top, left, height and width. Where a photo was cropped it is smaller than the photo, where bars
        were added it reaches beyond."""
        return dict(zip(("top", "left", "height", "width"), self._native.framing))

    @property
    def photo(self) -> np.ndarray:
        """The photo, upright: height x width x 3."""
        return self._native.photo

    @property
    def parts(self) -> "list[Part]":
        """By falling singular value; empty for methods without parts."""
        maps = self._native.ossms
        return [
            Part(report["number"], maps[at], report["contribution"], report["weight"], report, self._native)
            for at, report in enumerate(sorted(self.report["parts"], key=lambda part: part["number"]))
        ]

    @property
    def scores(self) -> dict:
        """The score that the model reports, and the one that is explained."""
        return self.report["scores"]

    @property
    def check(self) -> Optional[dict]:
        """What hiding the brightest places costs, beside hiding others; None if it was left out."""
        return self.report.get("check")

    @property
    def warnings(self) -> "list[str]":
        """What a reader should know before trusting the map."""
        return self.report["warnings"]

    def save(self, directory: Union[str, "os.PathLike[str]"]) -> "list[str]":
        """Writes the files that the command writes, and returns their paths."""
        return [os.fspath(path) for path in self._native.save(os.fspath(directory))]

    def __str__(self) -> str:
        return self._native.summary()

    def __repr__(self) -> str:
        reported = self.scores["reported"]
        return f"<decomcam.Explanation of \"{self.report['text']}\": {reported['name']} {reported['value']:.3f}, {len(self.report['parts'])} parts>"

    def _repr_html_(self) -> str:
        with tempfile.TemporaryDirectory() as directory:
            files = {os.path.basename(path): path for path in self.save(directory)}
            if "report.html" in files:
                with open(files["report.html"], encoding="utf-8") as file:
                    page = html.escape(file.read(), quote=True)
                return f'<iframe title="explanation" srcdoc="{page}" style="width:100%;height:720px;border:0"></iframe>'
            with open(files["overlay.png"], "rb") as file:
                picture = base64.b64encode(file.read()).decode()
        return f'<img alt="{html.escape(str(self))}" src="data:image/png;base64,{picture}">'


class Session:
    """An open model: its networks are loaded when they are first needed, once. It can be used from any thread.

    ``model`` is a bundled model's name, a directory (with a model.toml, or of Hugging Face's layout), or an ONNX file. ``size`` is height and width of the
    input, or one number for both. The other choices are those of the command, under the same names.
    """

    def __init__(
        self,
        model: Union[str, "os.PathLike[str]"] = "lite",
        *,
        size: Union[None, int, Tuple[int, int]] = None,
        fit: Optional[str] = None,
        margin: Optional[int] = None,
        threads: Optional[int] = None,
        labels: Union[None, str, "os.PathLike[str]"] = None,
        output: Optional[str] = None,
        preset: Optional[str] = None,
        mean: Optional[Sequence[float]] = None,
        std: Optional[Sequence[float]] = None,
        precision: Optional[str] = None,
        layer: Optional[str] = None,
        layerless: bool = False,
        faithful: bool = False,
    ):
        self._native = _native.Session(
            os.fspath(model),
            size=(size, size) if isinstance(size, int) else size,
            fit=fit,
            margin=margin,
            threads=threads,
            labels=labels,
            output=output,
            preset_name=preset,
            mean=None if mean is None else [float(level) for level in mean],
            std=None if std is None else [float(level) for level in std],
            precision=precision,
            layer=layer,
            layerless=layerless,
            faithful=faithful,
        )

    @property
    def layers(self) -> "list[str]":
        """The names of the layers that can be explained."""
        return self._native.layers

    def __str__(self) -> str:
        return self._native.describe()

    def explain(
        self,
        photo: Photo,
        text: Union[None, str, int] = None,
        *,
        versus: Union[None, str, int] = None,
        score: Optional[str] = None,
        method: str = "exact",
        layer: Optional[str] = None,
        components: Optional[int] = None,
        channels: Optional[int] = None,
        scales: Optional[int] = None,
        affinity: Optional[bool] = None,
        refine: Optional[bool] = None,
        one_sided: Optional[bool] = None,
        sign: Optional[str] = None,
        integrate: Optional[str] = None,
        names: Sequence[str] = (),
        rise_masks: Optional[int] = None,
        seed: int = 0,
        check: bool = True,
        photo_name: Optional[str] = None,
        _beside: Mapping[str, Any] = types.MappingProxyType({}),
    ) -> Explanation:
        """Explains why ``photo`` gets its score for ``text``: words, or a class of a classifier by name or number; without it the class that is predicted.
        ``check=False`` leaves out the passes with which the map checks itself; ``photo_name`` is what a photo that is no path is called in reports and errors.
        The other choices are those of the command, under the same names."""
        native = self._native.explain(
            _photo(photo),
            None if text is None else str(text),
            versus=None if versus is None else str(versus),
            score=score,
            method_name=method,
            layer=layer,
            components=components,
            channels=channels,
            scales=scales,
            affinity=affinity,
            refine=refine,
            one_sided=one_sided,
            sign_rule=sign,
            integrate_in=integrate,
            names=list(names),
            rise_masks=rise_masks,
            seed=seed,
            check=check,
            photo_name=photo_name,
            **_beside,
        )
        return Explanation(native)

    def explain_many(
        self, photos: Iterable[Photo], text: Union[None, str, int] = None, *, progress: bool = False, **options: Any
    ) -> Iterator[Union[Explanation, DecomcamError]]:
        """Explains photos, as many at once as the session has threads, and yields the explanations in the photos' order. For a photo that cannot be read, the
        error is yielded in its place, and the rest goes on. ``photos`` may be a generator: what is taken from it is at most one photo for each thread ahead of
        what was yielded. ``progress`` shows a bar, if tqdm is installed."""
        count = operator.length_hint(photos, -1)
        explained = self._explained(photos, count, text, options)
        if not progress:
            return explained
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise OptionsError("progress: tqdm is not installed; pip install tqdm, or leave it out") from error
        return iter(tqdm(explained, total=None if count < 0 else count, unit="photo"))

    def _explained(
        self, photos: Iterable[Photo], count: int, text: Union[None, str, int], options: "dict[str, Any]"
    ) -> Iterator[Union[Explanation, DecomcamError]]:
        threads = self._native.threads
        at_once = threads if count < 0 else max(1, min(threads, count))
        stop = _native.Stop()
        beside = {"threads": -(-threads // at_once), "stop": stop}

        def explained(photo: Photo) -> Union[Explanation, DecomcamError]:
            try:
                return self.explain(photo, text, _beside=beside, **options)
            except PhotoError as error:
                return error

        if at_once == 1:
            yield from map(explained, photos)
            return
        ahead: "collections.deque[concurrent.futures.Future]" = collections.deque()
        workers = concurrent.futures.ThreadPoolExecutor(at_once, thread_name_prefix="decomcam")
        try:
            for photo in photos:
                ahead.append(workers.submit(explained, photo))
                if len(ahead) > at_once:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            # Whoever takes no more, or presses Ctrl-C, does not wait for what is at work.
            stop.set()
            for future in ahead:
                future.cancel()
            workers.shutdown()

    def rank(self, photo: Photo, texts: Sequence[str]) -> "list[Ranked]":
        """The texts by how well they fit the photo, best first."""
        if isinstance(texts, str):
            raise OptionsError("texts: expected a list of texts, found one string; give [text]")
        ranked = json.loads(self._native.rank(_photo(photo), list(texts)))
        return [Ranked(one["text"], one["scores"]["reported"]["value"], one.get("probability")) for one in ranked]


_opened: "dict[str, Session]" = {}


def explain(
    photo: Photo, text: Union[None, str, int] = None, *, model: Union[str, "os.PathLike[str]"] = "lite", **options: Any
) -> Explanation:
    """Explains one photo. The last model is kept open, so a second call is fast; ``options`` are those of :meth:`Session.explain`.

    >>> why = explain("tests/photos/chelsea.png", "a cat")    # doctest: +SKIP
    """
    name = os.fspath(model)
    if name not in _opened:
        session = Session(name)
        _opened.clear()
        _opened[name] = session
    return _opened[name].explain(photo, text, **options)


@dataclass(frozen=True)
class Decomposition:
    """A layer's weighted activation maps, decomposed (see :func:`decompose`). Q parts on a grid of H x W."""

    saliency: np.ndarray
    """H x W, not upsampled. That of ``exact`` has negative values, which belong to zero once it has been upsampled."""
    components: np.ndarray
    """Q x H x W: (U s)_q."""
    ossms: np.ndarray
    """Q x H x W: max(0, components)."""
    weights: np.ndarray
    """Q: of each part in the saliency."""
    singular_values: np.ndarray
    explained_variance: np.ndarray
    predicted: np.ndarray
    """Q: the contribution that the gradient alone predicts, as a share of the largest."""
    channel_weights: np.ndarray
    """C: the mean gradient of each channel."""
    mean: float
    """What the sum of ``exact`` starts from."""


def decompose(
    activations: Any,
    gradients: Any,
    *,
    recipe: str = "exact",
    channels: Optional[int] = None,
    components: Optional[int] = None,
    sign: Optional[str] = None,
    affinity: Optional[bool] = None,
) -> Decomposition:
    """Decomposes a layer that you computed: arrays or tensors of channels x height x width, of float32 and contiguous without a copy.

    ``gradients`` are the derivative of the score with respect to the activations. ``recipe`` is ``exact`` or ``aligned``, ``channels`` P, ``components`` Q
    (10, or all if fewer exist).
    """
    made = _native.decompose(
        _maps("activations", activations),
        _maps("gradients", gradients),
        recipe=recipe,
        channels=channels,
        components=components,
        sign_rule=sign,
        affinity=affinity,
    )
    return Decomposition(**made)


def cam(method: str, activations: Any, gradients: Any) -> np.ndarray:
    """The map of another method, H x W, not upsampled: grad-cam, grad-cam++, xgrad-cam, hires-cam, layer-cam, eigen-cam or eigen-grad-cam."""
    return _native.cam(method, _maps("activations", activations), _maps("gradients", gradients))
