"""Makes cams.json: maps of a small network by the PyPI package grad-cam and, in float64, by the formulas of the papers.

    pip install numpy==2.4.6 torch==2.5.1 grad-cam==1.5.7 scikit-image==0.26.0    # and what grad-cam imports
    python tests/cams/make.py

The network is a 1 x 1 convolution of 3 to 6 channels, ReLU, and a head that is not linear in the layer: the square of a linear map of it, so that
gradients differ from place to place. Every number of it is in the file, so that the tests can run it too.
"""

import json
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam import (
    AblationCAM, EigenCAM, EigenGradCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM, XGradCAM,
)
from skimage.transform import resize

C, H, W, SCALE = 6, 4, 5, 2
rng = np.random.default_rng(20240610)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = torch.nn.AvgPool2d(SCALE)
        self.mix = torch.nn.Conv2d(3, C, 1)
        self.layer = torch.nn.ReLU()
        with torch.no_grad():
            self.mix.weight.copy_(torch.tensor(rng.normal(size=(C, 3, 1, 1))))
            self.mix.bias.copy_(torch.tensor(rng.normal(size=C) / 4))
        self.linear = torch.nn.Parameter(torch.tensor(rng.normal(size=(C, H, W)), dtype=torch.float32))

    def forward(self, x):
        y = self.layer(self.mix(self.pool(x)))
        value = (y * self.linear).sum(dim=(1, 2, 3))
        return (value + value ** 2 / 8)[:, None]


def raw(cam, net, x, activations, gradients):
    """The map before it is clamped and scaled."""
    target = [lambda output: output[0]]
    return cam.get_cam_image(x, cam.target_layers[0], target, activations.copy(), gradients.copy(), False)[0]


def formulas(a, g):
    """The papers' formulas in float64; eps as grad-cam has them."""
    a, g = a.astype(np.float64), g.astype(np.float64)
    total = a.sum(axis=(1, 2), keepdims=True)
    plus = np.where(g != 0, g ** 2 / (2 * g ** 2 + total * g ** 3 + 1e-6), 0)

    def first(maps):
        x = maps.reshape(len(maps), -1).T
        u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
        component = u[:, 0] * s[0]
        # The sign is free: the side on which the maps' sum is above its mean.
        total = x.sum(axis=1)
        component *= np.sign(component @ (total - total.mean()))
        return component.reshape(maps.shape[1:])

    weighted = lambda w: (w.reshape(-1, 1, 1) * a).sum(axis=0)
    return {
        "grad-cam": weighted(g.mean(axis=(1, 2))),
        "grad-cam++": weighted((np.maximum(g, 0) * plus).sum(axis=(1, 2))),
        "xgrad-cam": weighted((g * a / (total + 1e-7)).sum(axis=(1, 2))),
        "hires-cam": (g * a).sum(axis=0),
        "layer-cam": (np.maximum(g, 0) * a).sum(axis=0),
        "eigen-cam": first(a),
        "eigen-grad-cam": first(g * a),
    }


def main():
    net = Net().eval()
    x = torch.tensor(rng.normal(size=(1, 3, H * SCALE, W * SCALE)), dtype=torch.float32)
    kept = {}
    net.layer.register_forward_hook(lambda _, __, output: (output.retain_grad(), kept.update(a=output))[0])
    score = net(x)[0, 0]
    score.backward()
    activations, gradients = kept["a"].detach().numpy(), kept["a"].grad.numpy()
    classes = {
        "grad-cam": GradCAM, "grad-cam++": GradCAMPlusPlus, "xgrad-cam": XGradCAM, "hires-cam": HiResCAM,
        "layer-cam": LayerCAM, "eigen-cam": EigenCAM, "eigen-grad-cam": EigenGradCAM, "score-cam": ScoreCAM,
        "ablation-cam": AblationCAM,
    }
    net = Net_without_hook(net)
    packages = {name: raw(cam(net, [net.layer]), net, x, activations, gradients) for name, cam in classes.items()}

    # RISE's mask, as its authors make it: skimage's bilinear resize of the grid to (s + 1) cells, cropped.
    side, s = 224, 7
    cell = -(-side // s)
    grid = (rng.random((s, s)) < 0.5).astype(np.float32)
    top, left = 11, 29
    mask = resize(grid, ((s + 1) * cell, (s + 1) * cell), order=1, mode="reflect", anti_aliasing=False)
    mask = mask[top:top + side, left:left + side]

    flat = lambda array: [float(f"{value:.9g}") for value in np.asarray(array, dtype=np.float64).ravel()]
    data = {
        "shape": [C, H, W],
        "scale": SCALE,
        "input": flat(x.numpy()),
        "mix": flat(net.mix.weight.detach().numpy()),
        "bias": flat(net.mix.bias.detach().numpy()),
        "linear": flat(net.linear.detach().numpy()),
        "score": float(score),
        "activations": flat(activations),
        "gradients": flat(gradients),
        "package": {name: flat(cam) for name, cam in packages.items()},
        "formula": {name: flat(cam) for name, cam in formulas(activations[0], gradients[0]).items()},
        "rise": {"grid": flat(grid), "top": top, "left": left, "rows": [0, 1, 100, 223],
                 "mask": [flat(mask[row]) for row in (0, 1, 100, 223)]},
    }
    path = Path(__file__).with_name("cams.json")
    path.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in data.items()) + "\n}\n")
    for name, cam in data["formula"].items():
        print(name, "package against formula:", np.abs(np.array(cam) - data["package"][name]).max())


def Net_without_hook(net):
    """The same network, for grad-cam's own hooks."""
    net.layer._forward_hooks.clear()
    return net


if __name__ == "__main__":
    main()
