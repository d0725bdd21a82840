"""Writes small segmentations, detectors and other networks with the questions that can be asked of them, and the answers: `python make.py`, after `../gradients`.

    pip install torch==2.5.1 torchvision==0.20.1 onnx==1.23.2 onnxruntime==1.32.0 pillow==13.0.0 opencv-python-headless grad-cam==1.5.5

`NAME.onnx` takes a picture of 32 x 32. `questions.json` holds a photo of 48 x 32 pixels, whose middle square the network sees (its numbers are pixel / 255), and of each
network what is asked, the number that onnxruntime gives, the box that torchvision's `nms` puts first, second, ... and the gradient at tensor `layer` by torch, in f64.
`filters.json` holds pictures resized by Pillow, `upsampled.json` a map upsampled by OpenCV as the package grad-cam does.

A network is written only if onnxruntime gets torch's numbers to 1e-5.
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
import torchvision
from onnx import TensorProto, helper
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "gradients"))
from make import Graph, Weights  # noqa: E402

HERE = Path(__file__).parent
SIDE = 32
HEIGHT, WIDTH, TOP = 48, 32, 8  # of the photo, and where the square begins
OVERLAP = 0.5
onnxruntime.set_default_logger_severity(4)


def photo():
    return np.random.default_rng(7).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def flat(values):
    return [float(f"{float(value):.9g}") for value in np.asarray(values, dtype=np.float64).ravel()]


# ---- networks: a function that adds nodes after `layer` and names the outputs, and the same in torch


def front(w):
    k, b = w(6, 3, 4, 4), w(6)
    return (
        lambda g: g.Relu(g.Conv("x", k, b, strides=[4, 4]), output="layer"),
        lambda x: torch.relu(F.conv2d(x, k, b, stride=4)),
    )


def segmentation(w):
    k = w(3, 6, 1, 1)
    return (
        lambda g: g.Softmax(g.Conv("layer", k), axis=1, output="probabilities"),
        lambda layer: {"probabilities": torch.softmax(F.conv2d(layer, k), 1), "explained": F.conv2d(layer, k)},
    )


def channels_last(w):
    k = w(3, 6, 1, 1)
    return (
        lambda g: g.Transpose(g.Conv("layer", k), perm=[0, 2, 3, 1], output="maps"),
        lambda layer: {"maps": F.conv2d(layer, k).permute(0, 2, 3, 1)},
    )


def cells():
    return [(row, column, stride) for stride in (8, 16, 32) for row in range(SIDE // stride) for column in range(SIDE // stride)]


def heads(w, numbers):
    """A number for each cell of grids of 8, 16 and 32 pixels: 1 x numbers x 21."""
    ks = [w(numbers, 6, 1, 1) for _ in range(3)]

    def nodes(g):
        parts = [
            g.Reshape(g.Conv(g.AveragePool("layer", kernel_shape=[s, s], strides=[s, s]), k), np.array([1, numbers, -1]))
            for s, k in zip((2, 4, 8), ks)
        ]
        return g.Concat(*parts, axis=2)

    return nodes, lambda layer: torch.cat([F.conv2d(F.avg_pool2d(layer, s), k).flatten(2) for s, k in zip((2, 4, 8), ks)], 2)


CENTRES = torch.tensor([[(c + 0.5) * s, (r + 0.5) * s] for r, c, s in cells()], dtype=torch.float64).T[None]
STRIDES = torch.tensor([s for *_, s in cells()], dtype=torch.float64)[None, None]


def yolo(w, transposed=True):
    """As YOLOv8 exports: 1 x (4 + 3) x 21, centres and sizes in pixels."""
    nodes, raw = heads(w, 7)

    def after(g):
        t = nodes(g)
        part = lambda a, b: g.Slice(t, np.array([a]), np.array([b]), np.array([1]))
        xy = g.Add(g.Mul(g.Tanh(part(0, 2)), STRIDES * 0.5), CENTRES)
        wh = g.Mul(g.Sigmoid(part(2, 4)), STRIDES * 4)
        out = [xy, wh, g.Sigmoid(part(4, 7))]
        if transposed:
            return g.Concat(*out, axis=1, output="output0")
        return g.Transpose(g.Concat(*out, axis=1), perm=[0, 2, 1], output="output0")

    def network(layer):
        t = raw(layer)
        out = torch.cat([torch.tanh(t[:, :2]) * STRIDES * 0.5 + CENTRES, torch.sigmoid(t[:, 2:4]) * STRIDES * 4, torch.sigmoid(t[:, 4:])], 1)
        return {"output0": out if transposed else out.transpose(1, 2)}

    return after, network


def yolo_rows(w):
    return yolo(w, False)


def yolox(w):
    """As YOLOX exports without its decoding: 1 x 21 x (4 + 1 + 3)."""
    nodes, raw = heads(w, 8)

    def after(g):
        t = nodes(g)
        part = lambda a, b: g.Slice(t, np.array([a]), np.array([b]), np.array([1]))
        return g.Transpose(g.Concat(g.Tanh(part(0, 4)), g.Sigmoid(part(4, 8)), axis=1), perm=[0, 2, 1], output="output")

    return after, lambda layer: {"output": torch.cat([torch.tanh(raw(layer)[:, :4]), torch.sigmoid(raw(layer)[:, 4:])], 1).transpose(1, 2)}


def ssd(w):
    """Corners as shares of the picture beside softmaxed scores, the first of which is the background's."""
    k, m = w(3, 6, 2, 2), w(4, 6, 2, 2)
    low = torch.tensor([[c / 4, r / 4, c / 4, r / 4] for r in range(4) for c in range(4)], dtype=torch.float64)
    size = torch.tensor([0.0, 0.0, 0.3, 0.3], dtype=torch.float64)
    bias = torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64)

    def after(g):
        scores = g.Transpose(g.Reshape(g.Conv("layer", k, bias, strides=[2, 2]), np.array([1, 3, -1])), perm=[0, 2, 1])
        boxes = g.Transpose(g.Reshape(g.Conv("layer", m, strides=[2, 2]), np.array([1, 4, -1])), perm=[0, 2, 1])
        boxes = g.Add(g.Mul(g.Tanh(boxes), np.float64(0.1)), low + size, output="boxes")
        return [g.Softmax(scores, axis=2, output="scores"), boxes]

    def network(layer):
        scores = F.conv2d(layer, k, bias, stride=2).flatten(2).transpose(1, 2)
        boxes = torch.tanh(F.conv2d(layer, m, stride=2).flatten(2).transpose(1, 2)) * 0.1 + low + size
        return {"scores": torch.softmax(scores, 2), "boxes": boxes, "explained": scores}

    return after, network


def detr(w):
    """Six queries: logits, the last of which is for no object, beside centres and sizes as shares."""
    k, m = w(8, 6, 2, 2), w(4, 6 * 16)
    n, c = w(6, 8 * 16), w(4)
    q, r = w(6 * 4, 8 * 16) / 64, w(6 * 4, 8 * 16) / 64
    bias = torch.zeros(6, 4, dtype=torch.float64)
    bias[:5, 3] = 6

    def after(g):
        f = g.Flatten(g.Conv("layer", k, strides=[2, 2]))
        logits = g.Add(g.Reshape(g.MatMul(f, q.T), np.array([1, 6, 4])), bias[None], output="logits")
        boxes = g.Sigmoid(g.Reshape(g.MatMul(f, r.T), np.array([1, 6, 4])), output="pred_boxes")
        return [logits, boxes]

    def network(layer):
        f = F.conv2d(layer, k, stride=2).flatten(1)
        return {"logits": (f @ q.T).reshape(1, 6, 4) + bias, "pred_boxes": torch.sigmoid((f @ r.T).reshape(1, 6, 4))}

    return after, network


def unknown_boxes(w):
    """Numbers that are neither corners nor centres: offsets from something."""
    k, m = w(3, 6, 2, 2), w(4, 6, 2, 2)
    low, none = torch.full((3,), -9.0, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)

    def after(g):
        maps = lambda k, b: g.Reshape(g.Conv("layer", k, b, strides=[2, 2]), np.array([1, k.shape[0], -1]))
        rows = lambda k, b, name: g.Transpose(maps(k, b), perm=[0, 2, 1], output=name)
        return [rows(k, low, "scores"), rows(m, none, "offsets")]

    rows = lambda layer, k, b: F.conv2d(layer, k, b, stride=2).flatten(2).transpose(1, 2)
    return after, lambda layer: {"scores": rows(layer, k, low), "offsets": rows(layer, m, none)}


def value(w):
    """A regression: one number."""
    m = w(6, 1)
    return (
        lambda g: g.MatMul(g.Flatten(g.GlobalAveragePool("layer")), m, output="age"),
        lambda layer: {"age": layer.mean((2, 3)) @ m},
    )


def two_values(w):
    m, n = w(6, 1), w(6, 2)

    def after(g):
        f = g.Flatten(g.GlobalAveragePool("layer"))
        return [g.MatMul(f, m, output="age"), g.MatMul(f, n, output="gaze")]

    return after, lambda layer: {"age": layer.mean((2, 3)) @ m, "gaze": layer.mean((2, 3)) @ n}


def classifier(w):
    m, n = w(6, 8), w(8, 4)

    def after(g):
        f = g.Relu(g.MatMul(g.Flatten(g.GlobalAveragePool("layer")), m))
        return g.MatMul(f, n, output="logits")

    return after, lambda layer: {"logits": (e := torch.relu(layer.mean((2, 3)) @ m)) @ n, "embedding": e}


def beyond_range(w):
    """Quantised: every hidden number lies beyond what its integers can hold, so the gradient is zero unless it passes as if they could."""
    m, n = w(6, 5), w(5, 3)
    scale, zero = np.float32(0.001), np.uint8(128)

    def after(g):
        h = g.MatMul(g.Flatten(g.GlobalAveragePool("layer")), m)
        return g.MatMul(g.DequantizeLinear(g.QuantizeLinear(h, scale, zero), scale, zero), n, output="logits")

    def network(layer):
        h = layer.mean((2, 3)) @ m
        assert (h.abs() > 0.2).all()
        return {"logits": h.clamp(-0.128, 0.127) @ n, "straight": h @ n}

    return after, network


def embedding(w):
    m = w(6, 8)
    return (
        lambda g: g.MatMul(g.Flatten(g.GlobalAveragePool("layer")), m, output="image_embeds"),
        lambda layer: {"image_embeds": (e := layer.mean((2, 3)) @ m), "embedding": e},
    )


# ---- questions


def shares_of(mask):
    """The mean of a mask of the square over each of 8 x 8 places, as shares of all of it."""
    areas = mask[TOP:TOP + SIDE].astype(np.float64).reshape(8, 4, 8, 4).sum((1, 3))
    return torch.from_numpy(areas / areas.sum())


def rect(top, left, height, width):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:top + height, left:left + width] = True
    return mask


def pixels(outputs, explained, reported):
    """Questions about a segmentation, 1 x 3 x 8 x 8."""
    blob = np.hypot(*np.meshgrid(np.arange(HEIGHT) - 20.3, np.arange(WIDTH) - 11.1, indexing="ij")) < 7.6
    rectangle = [11, 5, 13, 18]
    masks = [
        ({"rect": rectangle}, rect(*rectangle)),
        ({"rect": [0, 0, 10, 3]}, rect(0, 0, 10, 3)),
        ({"mask": np.packbits(blob).tolist()}, blob),
    ]
    for at in ([8, 0], [39, 31], [21, 14]):
        one = np.zeros((HEIGHT, WIDTH), bool)
        one[at[0], at[1]] = True
        masks.append(({"pixel": at}, one))
    for ask, mask in masks:
        means = [(maps[0] * shares_of(mask)).sum((1, 2)) for maps in (reported, explained)]
        for number in [2, int(means[0].argmax())]:
            named = None if number != 2 else number
            yield {**ask, "class": named, "answer": number, "reported": means[0][number], "explained": means[1][number]}


def boxes(corners, numbers, explained, confidence, asks, exclude=()):
    """Questions about a detector: `corners` boxes x 4 in pixels of the input, the rest boxes x classes."""
    for number in [None, *range(numbers.shape[1])]:
        ranked = confidence.clone()
        ranked[:, list(exclude)] = -9
        answer = int(ranked.max(0).values.argmax()) if number is None else number
        order = range(len(numbers))
        if corners is not None:
            order = torchvision.ops.nms(corners, confidence[:, answer], OVERLAP).tolist()
        else:
            order = confidence[:, answer].argsort(descending=True, stable=True).tolist()
        for nth in sorted({0, 1, len(order) - 1} & set(range(len(order)))):
            index = order[nth]
            corner = None if corners is None else (corners[index] + torch.tensor([0, TOP, 0, TOP])).tolist()
            for ask, (reported, explained_one) in asks(index, answer).items():
                yield {
                    "box": nth + 1, "left": len(order), "class": number, "answer": answer, "ask": ask, "index": index,
                    "corners": corner, "confidence": confidence[index, answer], "reported": reported, "explained": explained_one,
                }


def centred(b):
    return torch.stack([b[:, 0] - b[:, 2] / 2, b[:, 1] - b[:, 3] / 2, b[:, 0] + b[:, 2] / 2, b[:, 1] + b[:, 3] / 2], 1)


def questions(name, outputs):
    first = lambda name: outputs[name][0]
    if name == "segmentation":
        yield from pixels(outputs, outputs["explained"], outputs["probabilities"])
    elif name == "channels_last":
        maps = outputs["maps"].permute(0, 3, 1, 2)
        yield from pixels(outputs, maps, maps)
    elif name in ("yolo", "yolo_rows"):
        t = first("output0").T if name == "yolo" else first("output0")
        yield from boxes(centred(t[:, :4]), t[:, 4:], t[:, 4:], t[:, 4:], lambda i, c: {"class": (t[i, 4 + c],) * 2})
    elif name == "yolox":
        t = first("output")
        grid = torch.tensor([[c, r] for r, c, _ in cells()])
        strides = STRIDES[0].T
        decoded = centred(torch.cat([(t[:, :2] + grid) * strides, t[:, 2:4].exp() * strides], 1))
        confidence = t[:, 5:] * t[:, 4:5]
        yield from boxes(decoded, t[:, 5:], t[:, 5:], confidence, lambda i, c: {"class": (t[i, 5 + c],) * 2, "objectness": (t[i, 4],) * 2})
    elif name == "ssd":
        t, logits = first("scores"), first("explained")
        yield from boxes(first("boxes") * SIDE, t, logits, t, lambda i, c: {"class": (t[i, c], logits[i, c])}, [0])
    elif name == "detr":
        t = first("logits")
        assert 2 * (t.argmax(1) == 3).sum() > len(t), "no object is the likeliest of most queries"
        yield from boxes(centred(first("pred_boxes") * SIDE), t, t, torch.softmax(t, 1), lambda i, c: {"class": (t[i, c],) * 2}, [3])
    elif name == "unknown_boxes":
        t = first("scores")
        yield from boxes(None, t, t, t, lambda i, c: {"class": (t[i, c],) * 2})
    elif name == "beyond_range":
        for number in range(3):
            one = first("logits")[number]
            yield {"class": number, "answer": number, "reported": one, "explained": one, "straight": first("straight")[number]}
    elif name in ("value", "two_values"):
        for output in outputs:
            for number, one in enumerate(first(output)):
                for side, sign in (("for", 1), ("against", -1)):
                    yield {"output": output, "class": number, "answer": number, "side": side, "reported": sign * one, "explained": sign * one}


NETWORKS = [segmentation, channels_last, yolo, yolo_rows, yolox, ssd, detr, unknown_boxes, value, two_values, beyond_range, classifier, embedding]


def written(make):
    name = make.__name__
    w = Weights(zlib.crc32(name.encode()))
    (before, first), (after, rest) = front(w), make(w)
    g = Graph()
    before(g)
    outputs = after(g)
    outputs = [outputs] if isinstance(outputs, str) else outputs
    info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    picture = torch.from_numpy(photo()[TOP:TOP + SIDE].astype(np.float32) / 255).permute(2, 0, 1)[None].double()
    layer = first(picture).requires_grad_()
    found = rest(layer)
    graph = helper.make_graph(g.nodes, name, [info("x", [1, 3, SIDE, SIDE])], [info(o, list(found[o].shape)) for o in outputs], g.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    theirs = session.run(None, {"x": picture.float().numpy()})
    for output, values in zip(outputs, theirs):
        error = np.abs(values - found[output].detach().numpy()).max() / np.abs(values).max()
        assert error < 1e-5, (name, output, error)
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())
    asked = []
    if name in ("classifier", "embedding"):
        other = torch.from_numpy(photo()[TOP:TOP + SIDE, ::-1].copy().astype(np.float32) / 255).permute(2, 0, 1)[None].double()
        target = rest(first(other))["embedding"].detach()
        cosine = F.cosine_similarity(found["embedding"], target)[0]
        asked.append({"like": True, "reported": cosine, "explained": cosine})
    asked += list(questions(name, found))
    for question in asked:
        (gradient,) = torch.autograd.grad(question.pop("straight", question["explained"]), layer, retain_graph=True)
        question["gradient"] = flat(gradient)
        for key in ("reported", "explained", "confidence"):
            if key in question:
                question[key] = float(f"{float(question[key]):.9g}")
        if question.get("corners"):
            question["corners"] = flat(question["corners"])
    print(name, len(asked), "questions")
    return name, asked


def filters():
    """Pictures resized by Pillow with each of its older filters, along rows first: Pillow 13 goes along columns first where that is cheaper, so each axis has a call of its own."""
    names = ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]

    def resized(picture, filter, box, height, width):
        across = Image.fromarray(picture).resize((width, picture.shape[0]), filter, box=(box[0], 0, box[2], picture.shape[0]))
        return across.resize((width, height), filter, box=(0, box[1], width, box[3]))

    rng = np.random.default_rng(9)
    cases = []
    for (height, width), (to_height, to_width) in [((13, 9), (5, 4)), ((7, 11), (16, 20)), ((24, 20), (7, 20)), ((5, 5), (5, 5)), ((40, 3), (6, 8))]:
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        box = (1, 0, width, height - 2)  # left, top, right, bottom
        found = {name: np.asarray(resized(picture, Image.Resampling[name.upper()], box, to_height, to_width)).ravel().tolist() for name in names}
        cases.append({"size": [height, width], "picture": picture.ravel().tolist(), "box": box, "to": [to_height, to_width], "resized": found})
    return cases


def upsampled():
    """Maps as the package grad-cam shows them, from what its methods give before they are cut off at zero."""
    from pytorch_grad_cam.utils.image import scale_cam_image

    rng = np.random.default_rng(11)
    cases = []
    for (height, width), (to_height, to_width) in [((4, 4), (32, 32)), ((7, 7), (45, 30)), ((3, 5), (11, 17)), ((1, 2), (5, 6))]:
        raw = rng.normal(size=(height, width)).astype(np.float32)
        # base_cam.py: np.maximum(cam, 0), scale_cam_image(cam, target_size), np.maximum, mean over layers, scale_cam_image.
        cam = scale_cam_image(np.maximum(raw[None], 0), (to_width, to_height))
        cam = scale_cam_image(np.maximum(cam, 0))[0]
        cases.append({"size": [height, width], "map": flat(raw), "to": [to_height, to_width], "saliency": flat(cam)})
    return cases


def dump(name, data):
    (HERE / name).write_text(json.dumps(data, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    networks = dict(written(make) for make in NETWORKS)
    dump("questions.json", {"photo": photo().ravel().tolist(), "size": [HEIGHT, WIDTH], "networks": networks})
    dump("filters.json", filters())
    dump("upsampled.json", upsampled())
