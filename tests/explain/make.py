"""Makes exact.json: the map of recipe `exact` from activations and gradients, by numpy in float64, for tests/host/explain.rs.

    pip install numpy==2.4.6
    python tests/explain/make.py

The formula is that of the documentation (`host/README.md`, `core/src/resample.rs`, `core/src/affinity.rs`), written down here without looking at the
program's code for it:

    w_c    the mean over positions of the gradient, at the network's own size
    A_c    the activations; at two sizes the mean of the finer ones and the coarser ones, upsampled bicubically
    K      max(0, cosine)^2 of the activations of two positions, at the finest size, scaled from both sides until rows and columns sum to one
    L      sum over channels of w_c K A_c, the first-order map of the score
    X      positions x channels: w_c K A_c, each less its mean over positions; X = U diag(s) V'
    map    mean(L) + sum over the first Q components of u_q u_q' L

Inputs are multiples of 1/64, so that both sides start from the same numbers.
"""

import json
from pathlib import Path

import numpy as np

CHANNELS, OWN, FINE = 14, (3, 4), (6, 8)
rng = np.random.default_rng(20261128)


def sixty_fourths(values):
    return np.round(values * 64) / 64


def upsampled(maps, size):
    """Bicubic, a = -0.75, pixel centres, borders repeated: one axis after the other."""

    def along(maps, axis, length):
        maps = np.moveaxis(maps, axis, 0)
        old = len(maps)
        out = np.zeros((length,) + maps.shape[1:])
        for index in range(length):
            position = (index + 0.5) * old / length - 0.5
            for tap in range(int(np.floor(position)) - 1, int(np.floor(position)) + 3):
                x = abs(position - tap)
                weight = 1.25 * x**3 - 2.25 * x**2 + 1 if x <= 1 else -0.75 * x**3 + 3.75 * x**2 - 6 * x + 3
                out[index] += weight * maps[np.clip(tap, 0, old - 1)]
        return np.moveaxis(out, 0, axis)

    return along(along(maps, 1, size[0]), 2, size[1])


def affinity(maps):
    features = maps.reshape(len(maps), -1).T
    lengths = np.linalg.norm(features, axis=1)
    product = np.outer(lengths, lengths)
    cosines = np.divide(features @ features.T, product, out=np.zeros_like(product), where=product > 0)
    k = np.maximum(cosines, 0) ** 2
    np.fill_diagonal(k, 1.0)
    d = np.ones(len(k))
    for _ in range(1000):
        d = np.sqrt(d / (k @ d))
    k = d[:, None] * k * d[None, :]
    assert np.abs(k.sum(axis=0) - 1).max() < 1e-12
    return k


def exact(maps, weights, q):
    x = (weights[:, None] * maps.reshape(len(maps), -1)).T
    first_order = x.sum(axis=1)
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    components = u[:, :q]
    values = first_order.mean() + components @ (components.T @ first_order)
    return values, s[: q + 1], first_order, np.linalg.norm(x)


def main():
    # As behind a ReLU: many zeros; channels that look alike in part, so that positions do too.
    patterns = rng.normal(size=(4, *FINE))
    mix = rng.normal(size=(CHANNELS, 4))
    fine = np.maximum(0, np.tensordot(mix, patterns, 1) + 0.3 * rng.normal(size=(CHANNELS, *FINE)))
    own = np.maximum(0, fine.reshape(CHANNELS, 3, 2, 4, 2).mean(axis=(2, 4)) + 0.2 * rng.normal(size=(CHANNELS, *OWN)))
    own[:, 1, 2] = 0  # A position at which nothing fires.
    own, fine = sixty_fourths(own), sixty_fourths(fine)
    gradients = sixty_fourths(rng.normal(size=(CHANNELS, *OWN)))
    weights = gradients.mean(axis=(1, 2))
    cases = []
    for scales in (1, 2):
        finest = own if scales == 1 else fine
        grid = own if scales == 1 else (fine + upsampled(own, FINE)) / 2
        for averaged in (False, True):
            maps = grid.reshape(CHANNELS, -1)
            if averaged:
                maps = maps @ affinity(finest).T
            most = min(CHANNELS, finest[0].size - 1)
            for q in (3, 10, most):
                values, s, first_order, norm = exact(maps, weights, q)
                if q == most:
                    assert np.abs(values - first_order).max() < 1e-12
                cases.append({
                    "scales": scales, "affinity": averaged, "components": q, "all": q == most,
                    "norm": norm, "singular_values": s.tolist(), "map": values.tolist(),
                })

    def rounded(value):
        if isinstance(value, float):
            return float(f"{value:.10g}")
        return [rounded(entry) for entry in value] if isinstance(value, list) else value

    fixture = {
        "channels": CHANNELS, "own_size": OWN, "fine_size": FINE, "own": own.ravel().tolist(), "fine": fine.ravel().tolist(),
        "gradients": gradients.ravel().tolist(), "weights": weights.tolist(),
        "cases": [{key: rounded(value) for key, value in case.items()} for case in cases],
    }
    text = json.dumps(fixture).replace('{"scales"', '\n{"scales"')
    (Path(__file__).parent / "exact.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
