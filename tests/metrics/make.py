"""Makes metrics.json: every metric by numpy, scipy, scikit-learn and grad-cam, for tests/host/metrics.rs.

    pip install numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 torch==2.5.1 grad-cam==1.5.7    # and what grad-cam imports
    python tests/metrics/make.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from scipy.ndimage import gaussian_filter, label
from scipy.signal import convolve2d
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

H, W = 24, 30
rng = np.random.default_rng(7)


def scorer(x, weights):
    return float(np.tanh((x * weights).sum() / 20) + 1.2)


def pointing(m, mask, tolerance):
    y, x = np.unravel_index(m.argmax(), m.shape)
    ys, xs = np.nonzero(mask)
    return bool((np.hypot(ys - y, xs - x) <= tolerance).any())


def best_iou(m, mask):
    ious = [((b := m >= t / 10 * m.max()) & mask).sum() / (b | mask).sum() for t in range(1, 10)]
    return max(ious)


def box_hits(m, boxes):
    hits = []
    for percent in range(100):
        regions, count = label(m >= percent / 100 * float(m.max()), np.ones((3, 3)))
        sizes = np.bincount(regions.ravel())[1:]
        ys, xs = np.nonzero(regions == 1 + sizes.argmax())
        t, l, b, r = ys.min(), xs.min(), ys.max() + 1, xs.max() + 1
        for (T, L, B, R) in boxes:
            both = max(0, min(b, B) - max(t, T)) * max(0, min(r, R) - max(l, L))
            if both / ((b - t) * (r - l) + (B - T) * (R - L) - both) >= 0.5:
                hits.append(percent)
                break
    return hits


def curve(m, start, finish, step, weights):
    order = np.argsort(-m.ravel(), kind="stable")
    now = start.reshape(3, -1).copy()
    scores = [scorer(now.reshape(start.shape), weights)]
    for at in range(0, len(order), step):
        pixels = order[at:at + step]
        now[:, pixels] = finish.reshape(3, -1)[:, pixels]
        scores.append(scorer(now.reshape(start.shape), weights))
    scores = np.array(scores)
    return (scores.sum() - scores[0] / 2 - scores[-1] / 2) / (len(scores) - 1)


def rise_blur(x):
    one = np.zeros((11, 11))
    one[5, 5] = 1
    kernel = gaussian_filter(one, 5)
    return np.stack([convolve2d(plane, kernel, mode="same") for plane in x])


def road(m, x, weights):
    imputer = NoisyLinearImputer(noise=0)
    scores = []
    for shown in (m, (1 - m).astype(np.float32)):
        for p in range(10, 100, 10):
            keep = np.float32(shown < np.percentile(shown, p))
            scores.append(scorer(imputer(torch.tensor(x), torch.tensor(keep)).numpy(), weights))
    return (np.mean(scores[9:]) - np.mean(scores[:9])) / 2


def main():
    weights = rng.normal(size=(3, H, W))
    x = gaussian_filter(rng.normal(size=(3, H, W)), (0, 2, 2)).astype(np.float32) * 4
    mask = np.zeros((H, W), bool)
    mask[5:15, 8:19] = True
    mask[18:22, 24:29] = True
    boxes = [(5, 8, 15, 19), (18, 24, 22, 29)]
    cases = []
    for k in range(4):
        m = np.maximum(gaussian_filter(rng.normal(size=(H, W)) + (mask * 0.3 * k), 2), 0)
        # The last is coarse: many equal values, the maximum among them.
        m = np.round(m / m.max() * 4) / 4 if k == 3 else m / m.max()
        m = m.astype(np.float32)
        cases.append({
            "map": m,
            "pointing_1": pointing(m, mask, 1), "pointing_4": pointing(m, mask, 4),
            "energy": m[mask].sum(dtype=float) / m.sum(dtype=float),
            "best_iou": best_iou(m, mask),
            "pxap": average_precision_score(mask.ravel(), m.ravel()),
            "box_hits": box_hits(m, boxes),
            "deletion": curve(m, x, np.zeros_like(x), 25, weights),
            "insertion": curve(m, rise_blur(x).astype(np.float32), x, 25, weights),
            "kept": scorer(x * m, weights),
            "road": road(m, x, weights),
            # Against the mask as a map: many equal values on one side.
            "spearman": spearmanr(m.ravel(), mask.ravel()).statistic,
        })
    # A hole as deep as it gets: little but a corner is kept.
    keep = np.zeros((H, W), np.float32)
    keep[:4, :5] = 1
    keep[20, 3] = 1
    flat = lambda a: [float(f"{v:.9g}") for v in np.asarray(a, dtype=np.float64).ravel()]
    filled = NoisyLinearImputer(noise=0)(torch.tensor(x), torch.tensor(keep)).numpy()
    data = {
        "size": [H, W], "weights": flat(weights), "input": flat(x), "mask": mask.astype(int).ravel().tolist(),
        "boxes": boxes, "score": scorer(x, weights), "blurred": flat(rise_blur(x)),
        "keep": keep.astype(int).ravel().tolist(), "filled": flat(filled),
        "cases": [{k: flat(v) if k == "map" else v for k, v in case.items()} for case in cases],
    }
    path = Path(__file__).with_name("metrics.json")
    path.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in data.items()) + "\n}\n")
    for case in cases:
        print({k: v for k, v in case.items() if k != "map"})


main()
