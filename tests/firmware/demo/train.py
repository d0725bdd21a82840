"""Trains the demonstration's network and writes net.tflite and labels.txt: a cat, a cup of coffee, a rocket, or something else, in 96 x 96 pixels.

python3 tests/firmware/demo/train.py; needs `pip install torch scikit-image scikit-learn tflite flatbuffers numpy pillow` (2.5.1, 0.26.0, 1.9.1,
2.18.0, 25.12.19, 2.4.6 and 13.0.0 were used); half a minute on one core. Everything is seeded.

The photos are those that scikit-image and scikit-learn ship. The three things are cut out of one photo each: `chelsea` (CC0, Stefan van der Walt), `coffee` (CC0,
Rachel Michetti) and `rocket` (CC0, SpaceX). Backgrounds, and something else, are patches of `astronaut` (public domain, NASA), `hubble_deep_field` (public domain,
NASA), `brick`, `grass`, `gravel` (CC0), `camera` (CC0, Lav Varshney), `china` and `flower` (CC BY 2.0, danielbuechele and vultilion); none of these is copied into the
repository. Training pictures are made of them: a thing at a random place and size on a background, mirrored, recoloured. So the network knows these three
photos and no cats in general: it shows what a board computes, not how to tell cats.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import skimage
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tflite"))
from make import RELU6, SAME, B, Net, O, T, named  # noqa: E402

SIDE, BATCH, STEPS, POOL, SEED = 96, 32, 260, 1800, 7
LABELS = ["something else", "a cat", "a cup of coffee", "a rocket"]
#: Blocks: channels, stride of the depthwise convolution.
BLOCKS = [(32, 2), (48, 2), (64, 1), (64, 1)]
FIRST = 16
SIX = 6 / 255  # of ReLU6: the whole range of eight bits


def photos():
    """The things, each with the box that it fills (top, left, bottom, right, as shares), and the backgrounds."""
    folder = pathlib.Path(skimage.__file__).parent / "data"
    read = lambda name: np.asarray(Image.open(folder / name).convert("RGB"))
    things = [(read("chelsea.png"), (0.02, 0.2, 0.98, 0.86)), (read("coffee.png"), (0.1, 0.2, 0.98, 0.8)), (read("rocket.jpg"), (0.1, 0.38, 0.95, 0.62))]
    names = ["astronaut.png", "hubble_deep_field.jpg", "brick.png", "grass.png", "gravel.png", "camera.png"]
    china, flower = load_sample_images().images
    return things, [read(name) for name in names] + [china, flower]


def resized(picture, height, width):
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.BICUBIC))


def patch(picture, rng, least=0.25):
    """A square of a picture, at the network's size."""
    height, width = picture.shape[:2]
    side = int(rng.uniform(least, 1) * min(height, width))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    return resized(picture[top : top + side, left : left + side], SIDE, SIDE)


def recoloured(pictures, rng):
    """Other light, other colours, noise, and half of them mirrored."""
    count = len(pictures)
    each = lambda low, high, colours=1: rng.uniform(low, high, (count, 1, 1, colours)).astype(np.float32)
    pictures = pictures.astype(np.float32)
    grey = (rng.random((count, 1, 1, 1)) < 0.1) * np.float32(1)
    pictures = grey * pictures.mean(3, keepdims=True) + (1 - grey) * pictures
    pictures = (pictures - 128) * each(0.6, 1.3) + 128 + each(-35, 35) + each(-12, 12, 3)
    pictures += rng.standard_normal(pictures.shape, np.float32) * each(0, 6)
    mirrored = rng.random(count) < 0.5
    pictures[mirrored] = pictures[mirrored, :, ::-1]
    return np.clip(pictures, 0, 255).round()


def example(things, backgrounds, rng):
    label = int(rng.integers(0, len(LABELS)))
    picture = patch(backgrounds[rng.integers(len(backgrounds))], rng)
    if label:
        photo, box = things[label - 1]
        height, width = photo.shape[:2]
        top, left, bottom, right = (np.array(box) * [height, width, height, width]).astype(int)
        if rng.random() < 0.4:
            # The photo as it is, or most of it.
            side = int(rng.uniform(0.75, 1) * min(height, width))
            middle = [(top + bottom) // 2, (left + right) // 2]
            start = [int(np.clip(m + rng.integers(-20, 21) - side // 2, 0, n - side)) for m, n in zip(middle, (height, width))]
            picture = resized(photo[start[0] : start[0] + side, start[1] : start[1] + side], SIDE, SIDE)
        else:
            part = photo[top:bottom, left:right]
            scale = rng.uniform(0.4, 0.95) * SIDE / max(part.shape[:2])
            part = resized(part, max(8, int(part.shape[0] * scale)), max(8, int(part.shape[1] * scale)))
            rows, columns = part.shape[:2]
            y, x = rng.integers(0, SIDE - rows + 1), rng.integers(0, SIDE - columns + 1)
            down, across = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)[None]
            mask = np.clip(4 * (1.05 - np.sqrt(down**2 + across**2)), 0, 1)[..., None]
            picture = picture.copy()
            picture[y : y + rows, x : x + columns] = mask * part + (1 - mask) * picture[y : y + rows, x : x + columns]
    elif rng.random() < 0.3:
        # What surrounds a thing is something else, too: a corner of its photo.
        photo, box = things[rng.integers(len(things))]
        left = int(box[1] * photo.shape[1])
        side = max(16, min(left, photo.shape[0] // 2))
        top = int(rng.integers(0, photo.shape[0] - side + 1))
        picture = resized(photo[top : top + side, :side], SIDE, SIDE)
    return picture, label


def examples(things, backgrounds, rng, count):
    made = [example(things, backgrounds, rng) for _ in range(count)]
    return np.stack([picture for picture, _ in made]), np.array([label for _, label in made])


def batch(pictures, labels, rng):
    pictures = torch.tensor(recoloured(pictures, rng)).permute(0, 3, 1, 2)
    return (pictures - 128) / 128, torch.tensor(labels)


class Network(nn.Module):
    """Convolutions, each with a batch normalisation and ReLU6; an average over all places and a linear layer."""

    def __init__(self):
        super().__init__()
        layers, channels = [self.layer(3, FIRST, 3, 2, 1)], FIRST
        for more, stride in BLOCKS:
            layers += [self.layer(channels, channels, 3, stride, channels), self.layer(channels, more, 1, 1, 1)]
            channels = more
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, len(LABELS))

    @staticmethod
    def layer(inputs, outputs, size, stride, groups):
        # As TensorFlow pads even pictures whose stride is 2: below and to the right.
        pad = nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else (size // 2,) * 4)
        return nn.Sequential(pad, nn.Conv2d(inputs, outputs, size, stride, groups=groups, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6())

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


def trained(things, backgrounds):
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    pictures, labels = examples(things, backgrounds, rng, POOL)
    network = Network()
    optimiser = torch.optim.AdamW(network.parameters(), 4e-3, weight_decay=1e-2)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 8e-3, STEPS)
    for step in range(STEPS):
        drawn = rng.choice(POOL, BATCH, replace=False)
        given, wanted = batch(pictures[drawn], labels[drawn], rng)
        loss = nn.functional.cross_entropy(network(given), wanted, label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
        if step % 50 == 0:
            print(step, round(loss.item(), 3), flush=True)
    return network.eval()


def folded(layer):
    """Weights and bias of a convolution with its batch normalisation."""
    convolution, norm = layer[1], layer[2]
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weights = convolution.weight * gain[:, None, None, None]
    return weights.detach().numpy(), (norm.bias - norm.running_mean * gain).detach().numpy()


def quantised(network, logits_scale):
    """The file: weights per channel, activations of ReLU6 over its whole range."""
    net = Net()
    x = net.tensor([1, SIDE, SIDE, 3], 1 / 128, 0, name="picture")
    given = x

    def layer(x, weights, bias, y, code, kind, fields, axis):
        scales = np.maximum(np.abs(weights).reshape(weights.shape[0], -1).max(1), 1e-6) / 127
        steps = np.round(weights / scales[:, None, None, None]).astype(np.int8)
        # Of a convolution outputs x height x width x inputs, of a depthwise one 1 x height x width x channels.
        steps = steps.transpose(0, 2, 3, 1) if axis == 0 else steps.transpose(1, 2, 3, 0)
        held = net.tensor(steps.shape, scales.astype(np.float32), 0, data=steps, axis=axis)
        # What the file holds: scales in single precision.
        per_step = np.float64(np.float32(net.scale(x))) * scales.astype(np.float32)
        bias = net.tensor([len(bias)], per_step, 0, kind=T.INT32, data=np.round(bias / per_step).astype(np.int32))
        return net.op(code, [x, held, bias], [y], kind, **named(fields))

    for at, made in enumerate(network.features):
        weights, bias = folded(made)
        convolution = made[1]
        stride, depthwise = convolution.stride[0], convolution.groups > 1
        side = -(-net.shape(x)[1] // stride)
        y = net.tensor([1, side, side, len(bias)], SIX, -128, name=f"layer{at}")
        fields = {0: ("b", SAME), 1: ("i", stride), 2: ("i", stride)}
        if depthwise:
            fields |= {3: ("i", 1), 4: ("b", RELU6), 5: ("i", 1), 6: ("i", 1)}
            x = layer(x, weights, bias, y, B.DEPTHWISE_CONV_2D, O.DepthwiseConv2DOptions, fields, 3)
        else:
            fields |= {3: ("b", RELU6), 4: ("i", 1), 5: ("i", 1)}
            x = layer(x, weights, bias, y, B.CONV_2D, O.Conv2DOptions, fields, 0)
    channels = net.shape(x)[3]
    pooled = net.tensor([1, channels], SIX, -128, name="pooled")
    net.op(B.MEAN, [x, net.constant([1, 2])], [pooled], O.ReducerOptions, **named({0: ("?", False)}))
    weights = network.head.weight.detach().numpy()
    scale = np.float32(np.abs(weights).max() / 127)
    held = net.tensor(weights.shape, scale, 0, data=np.round(weights / scale).astype(np.int8))
    per_step = np.float64(np.float32(SIX)) * scale
    bias = np.round(network.head.bias.detach().numpy() / per_step).astype(np.int32)
    bias = net.tensor([len(bias)], per_step, 0, kind=T.INT32, data=bias)
    logits = net.tensor([1, len(LABELS)], logits_scale, 0, name="logits")
    net.op(B.FULLY_CONNECTED, [pooled, held, bias], [logits], O.FullyConnectedOptions, **named({0: ("b", 0)}))
    answer = net.softmax(logits, name="answer")
    return net.bytes([given], [answer])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    things, backgrounds = photos()
    network = trained(things, backgrounds)
    rng = np.random.default_rng(SEED + 1)
    pictures, labels = batch(*examples(things, backgrounds, rng, 600), rng)
    with torch.no_grad():
        logits = network(pictures)
    right = (logits.argmax(1) == labels).float()
    file = quantised(network, float(logits.abs().max()) / 127)
    (HERE / "net.tflite").write_bytes(file)
    (HERE / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    each = {label: round(right[labels == at].mean().item(), 3) for at, label in enumerate(LABELS)}
    print(f"{len(file)} bytes; right of 600 new pictures of the same photos: {right.mean():.3f}", each)


if __name__ == "__main__":
    main()
