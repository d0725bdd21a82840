"""DecomCAM and the CAMs for PyTorch modules, with the interface of pytorch-grad-cam.

    from decomcam.torch import DecomCAM, ClassifierOutputTarget

    with DecomCAM(model=model, target_layers=[model.layer4[-1]]) as cam:
        maps = cam(input_tensor=images, targets=[ClassifierOutputTarget(281)])    # N x height x width of the input, 0 to 1
        cam.results[0][0].ossms                                                   # of the first layer and image: its parts

PyTorch runs the network, forwards and backwards, on whatever device it is; the decomposition and the other methods are those of the command. The map is the
one that the command makes of the exported network with ``--scales 1 --refine off``.
"""

from __future__ import annotations

import warnings
from typing import Any, Callable, List, Optional, Sequence, Union

import numpy as np
import torch
from torch.nn import functional

from . import Decomposition, ExplanationError, OptionsError, cam as _cam, decompose as _decompose

__all__ = [
    "BinaryClassifierOutputTarget",
    "ClassifierOutputSoftmaxTarget",
    "ClassifierOutputTarget",
    "DecomCAM",
    "SemanticSegmentationTarget",
]

RECIPES = ("exact", "aligned")


class ClassifierOutputTarget:
    """The logit of a class."""

    def __init__(self, category: int):
        self.category = category

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        return output[..., self.category]


class ClassifierOutputSoftmaxTarget:
    """The probability of a class. It saturates: prefer :class:`ClassifierOutputTarget`."""

    def __init__(self, category: int):
        self.category = category

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        return functional.softmax(output, dim=-1)[..., self.category]


class BinaryClassifierOutputTarget:
    """The only logit of a network: itself for category 1, negated for 0."""

    def __init__(self, category: int):
        self.sign = 1 if category == 1 else -1

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        return self.sign * output


class SemanticSegmentationTarget:
    """The sum of a class's logits over a mask of height x width."""

    def __init__(self, category: int, mask: Any):
        self.category = category
        self.mask = torch.as_tensor(mask)

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        return (output[self.category] * self.mask.to(output.device)).sum()


def _first(output: Any) -> torch.Tensor:
    """The tensor of an output: itself, the logits of a Hugging Face output, or the first of several."""
    if isinstance(output, torch.Tensor):
        return output
    if hasattr(output, "logits") and isinstance(output.logits, torch.Tensor):
        return output.logits
    if isinstance(output, dict) and output:
        return _first(next(iter(output.values())))
    if isinstance(output, (list, tuple)) and output:
        return _first(output[0])
    raise OptionsError(f"expected a tensor, or several, found {type(output).__name__}")


class DecomCAM:
    """Explains a module.

    ``target_layers`` are modules whose output is N x C x H x W; for others, such as tokens, ``reshape_transform`` turns it into that. ``method`` is ``exact``
    or ``aligned`` (with parts), or grad-cam, grad-cam++, xgrad-cam, hires-cam, layer-cam, eigen-cam, eigen-grad-cam. ``upsample`` is ``bicubic``, as the
    command does, or ``bilinear``: negative values are cut off, the map is scaled and then upsampled, as pytorch-grad-cam does.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        target_layers: Sequence[torch.nn.Module],
        reshape_transform: Optional[Callable[[torch.Tensor], torch.Tensor]] = None,
        *,
        method: str = "exact",
        components: Optional[int] = None,
        channels: Optional[int] = None,
        affinity: Optional[bool] = None,
        upsample: str = "bicubic",
    ):
        if isinstance(target_layers, torch.nn.Module):
            raise OptionsError("target_layers: expected a list of modules, found one module; give [module]")
        if not target_layers:
            raise OptionsError("target_layers: expected at least one module")
        if upsample not in ("bicubic", "bilinear"):
            raise OptionsError(f'upsample: expected bicubic or bilinear, found "{upsample}"')
        self.model = model
        self.target_layers = list(target_layers)
        self.reshape_transform = reshape_transform
        self.method = method
        self.options = {"components": components, "channels": channels, "affinity": affinity}
        if method not in RECIPES and any(value is not None for value in self.options.values()):
            raise OptionsError(f'components, channels and affinity have no effect with method "{method}"; leave them out')
        self.upsample = upsample
        self.results: List[List[Union[Decomposition, np.ndarray]]] = []
        """Of the last call, for each layer and image: the decomposition, or the map of another method; before any upsampling."""
        self._seen: "dict[int, torch.Tensor]" = {}
        self._gradients: "dict[int, torch.Tensor]" = {}
        self._hooks = [layer.register_forward_hook(self._hook(at)) for at, layer in enumerate(self.target_layers)]

    def _hook(self, at: int) -> Callable[..., None]:
        def hook(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
            output = _first(output)
            # A copy: an activation function that works in place may follow.
            self._seen[at] = output.detach().clone()
            if output.requires_grad:
                output.register_hook(lambda gradient: self._gradients.__setitem__(at, gradient.detach()))

        return hook

    def __enter__(self) -> "DecomCAM":
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()

    def release(self) -> None:
        """Takes the hooks off the model."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def __call__(
        self,
        input_tensor: torch.Tensor,
        targets: Optional[Sequence[Callable[[torch.Tensor], torch.Tensor]]] = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
    ) -> np.ndarray:
        """The maps: N x height x width of the input, 0 to 1. Without ``targets`` the class that is predicted. ``aug_smooth`` averages over a flip and three
        brightnesses. ``eigen_smooth`` of pytorch-grad-cam is the first component alone: ``components=1`` here."""
        if eigen_smooth:
            raise OptionsError("eigen_smooth: the parts are the components already; for the first one alone take components=1")
        if not aug_smooth:
            return self._maps(input_tensor, targets)
        # The results that stay are those of the images as they are, which come last.
        total: Any = 0.0
        for flipped in (True, False):
            for factor in (0.9, 1.1, 1.0):
                images = (input_tensor.flip(-1) if flipped else input_tensor) * factor
                maps = self._maps(images, targets)
                total = total + (maps[..., ::-1] if flipped else maps)
        return np.ascontiguousarray(total / 6)

    def attribute(self, inputs: torch.Tensor, target: Union[None, int, Sequence[int], torch.Tensor] = None) -> torch.Tensor:
        """The maps as captum's attributions: N x 1 x height x width, on the input's device."""
        targets = None
        if target is not None:
            classes = torch.as_tensor(target).reshape(-1).tolist()
            classes = classes * len(inputs) if len(classes) == 1 else classes
            targets = [ClassifierOutputTarget(int(category)) for category in classes]
        return torch.from_numpy(self(inputs, targets))[:, None].to(inputs.device)

    def _maps(self, input_tensor: torch.Tensor, targets: Optional[Sequence[Callable]]) -> np.ndarray:
        if not self._hooks:
            raise OptionsError("the hooks were released: make a new DecomCAM")
        if input_tensor.ndim != 4:
            raise OptionsError(f"input_tensor: expected N x C x height x width, found {tuple(input_tensor.shape)}")
        self._seen.clear()
        self._gradients.clear()
        with torch.enable_grad():
            images = input_tensor.detach().requires_grad_(True)
            output = _first(self.model(images))
            if targets is None:
                targets = [ClassifierOutputTarget(int(category)) for category in output.detach().argmax(dim=-1).reshape(len(images), -1)[:, 0]]
            if len(targets) != len(images):
                raise OptionsError(f"targets: expected one for each of {len(images)} images, found {len(targets)}")
            score = torch.stack([target(one).sum() for target, one in zip(targets, output)]).sum()
            # Of the input alone, so that no gradient of a weight is computed or touched; the hooks note those of the layers on the way.
            if score.requires_grad:
                torch.autograd.grad(score, images, allow_unused=True)
        self.results = [self._layer(at) for at in range(len(self.target_layers))]
        size = tuple(input_tensor.shape[-2:])
        layers = [np.stack([self._upsampled(result, size) for result in results]) for results in self.results]
        empty = [image for image, maps in enumerate(zip(*layers)) if not np.any(maps)]
        if empty:
            self._warn("no place speaks for the score, so the map is zero everywhere; layer-cam, or another layer, may show where it comes from", empty)
        return np.stack([_scaled(one) for one in np.mean(layers, axis=0)])

    def _warn(self, what: str, images: "list[int]") -> None:
        named = ", ".join(str(image) for image in images[:5]) + (", ..." if len(images) > 5 else "")
        warnings.warn(f"{len(images)} of the images ({named}): {what}", stacklevel=5)

    def _layer(self, at: int) -> "list[Union[Decomposition, np.ndarray]]":
        name = type(self.target_layers[at]).__name__
        if at not in self._seen:
            raise ExplanationError(f"target layer {at} ({name}) was not run by the model")
        activations, gradients = self._seen[at], self._gradients.get(at)
        if gradients is None:
            raise ExplanationError(f"target layer {at} ({name}): no gradient of the score reaches it")
        if self.reshape_transform is not None:
            activations, gradients = self.reshape_transform(activations), self.reshape_transform(gradients)
        if activations.ndim != 4:
            raise OptionsError(
                f"target layer {at} ({name}): expected N x C x H x W, found {tuple(activations.shape)}; give a reshape_transform"
            )
        silent = [image for image, slopes in enumerate(gradients) if not slopes.any()]
        if silent:
            self._warn(f"target layer {at} ({name}): the gradient of the score is zero at every position, so there is nothing to explain; take an earlier layer", silent)
        pairs = zip(activations.float().cpu().numpy(), gradients.float().cpu().numpy())
        if self.method in RECIPES:
            return [_decompose(maps, slopes, recipe=self.method, **self.options) for maps, slopes in pairs]
        return [_cam(self.method, maps, slopes) for maps, slopes in pairs]

    def _upsampled(self, result: "Union[Decomposition, np.ndarray]", size: "tuple[int, ...]") -> np.ndarray:
        grid = result.saliency if isinstance(result, Decomposition) else result
        if self.upsample == "bilinear":
            grid = np.maximum(grid, 0)
            grid = (grid - grid.min()) / (1e-7 + np.max(grid - grid.min()))
        shaped = torch.from_numpy(np.ascontiguousarray(grid, dtype=np.float32))[None, None]
        return np.maximum(functional.interpolate(shaped, size=size, mode=self.upsample, align_corners=False)[0, 0].numpy(), 0)


def _scaled(saliency: np.ndarray) -> np.ndarray:
    """To 0..1; a map that is zero stays so."""
    low, high = float(saliency.min()), float(saliency.max())
    return (saliency - low) / (high - low) if high > low else np.zeros_like(saliency)
