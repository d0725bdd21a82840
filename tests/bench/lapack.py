"""The core's Jacobi SVD against LAPACK in single precision, in one process: accuracy on matrices that are hard, and time.

    cargo rustc --release -p decomcam-core --features capi --crate-type cdylib
    python3 tests/bench/lapack.py target/release/libdecomcam_core.so

Needs numpy and scipy. Errors are those of the singular values, in units of sqrt(n) 2^-23 of the largest, against float64.
"""
import ctypes
import sys
import time

import numpy as np
from scipy.linalg import get_lapack_funcs

core = ctypes.CDLL(sys.argv[1])
floats = ctypes.POINTER(ctypes.c_float)


class Convergence(ctypes.Structure):
    _fields_ = [("sweeps", ctypes.c_uint32), ("rotations", ctypes.c_uint32), ("largest_cosine", ctypes.c_float), ("converged", ctypes.c_uint32)]


orthogonalise = core.decomcam_orthogonalise
orthogonalise.argtypes = [floats, ctypes.c_size_t, ctypes.c_size_t, floats, ctypes.c_size_t, ctypes.c_size_t, floats, ctypes.c_size_t, ctypes.POINTER(Convergence)]


def pointer(array):
    return array.ctypes.data_as(floats)


def prepared(shape):
    """A solver for matrices of a shape: buffers and their pointers are made once, as scipy's wrapper makes them in C; each call copies the matrix and an
    identity into them. Columns of the taller side, one after the other, in place; V follows."""
    tall = max(shape), min(shape)
    rows, count = tall
    columns, v, values = np.empty((count, rows), np.float32), np.empty((count, count), np.float32), np.zeros(count, np.float32)
    identity, convergence = np.eye(count, dtype=np.float32), Convergence()
    arguments = [pointer(columns), columns.size, rows, pointer(v), v.size, count, pointer(values), count, ctypes.byref(convergence)]

    def solve(a):
        np.copyto(columns, a.T if shape == tall else a)
        np.copyto(v, identity)
        status = orthogonalise(*arguments)
        assert status == 0 and convergence.converged == 1, (status, convergence.sweeps)
        return values

    return solve


def ours(a):
    return prepared(a.shape)(a)


gesdd, = get_lapack_funcs(("gesdd",), dtype=np.float32)
gejsv, = get_lapack_funcs(("gejsv",), dtype=np.float32)


def sgesdd(a):
    u, s, vt, info = gesdd(a, full_matrices=0)
    assert info == 0
    return s


def sgejsv(a):
    tall = a if a.shape[0] >= a.shape[1] else a.T
    s, u, v, work, iwork, info = gejsv(np.asfortranarray(tall), joba=0, jobu=0, jobv=0)
    assert info == 0
    return np.sort(s * (work[0] / work[1]))[::-1]


random = np.random.default_rng(7)


def gauss(m, n):
    return random.standard_normal((m, n))


def orthogonal(n):
    return np.linalg.qr(random.standard_normal((n, n)))[0]


def one_ulp(m, n):
    k = min(m, n)
    return orthogonal(m)[:, :k] @ np.diag(1 + 2.0**-23 * np.arange(k)[::-1]) @ orthogonal(n)[:k]


def kahan(m, n):
    k = min(m, n)
    c, s = np.cos(1.2), np.sin(1.2)
    return np.diag(s ** np.arange(k)) @ (np.eye(k) - c * np.triu(np.ones((k, k)), 1))


def hilbert(m, n):
    return 1.0 / (np.arange(m)[:, None] + np.arange(n)[None, :] + 1)


def deficient(m, n):
    return random.standard_normal((m, 3)) @ random.standard_normal((3, n))


def ones(m, n):
    return np.ones((m, n))


print(f"{'family':<12}{'ours':>10}{'sgesdd':>10}{'sgejsv':>10}   worst over sizes, units of sqrt(n) 2^-23; then the mean of each matrix's worst")
for family in (gauss, ones, deficient, kahan, hilbert, one_ulp):
    worst = {solver: [] for solver in (ours, sgesdd, sgejsv)}
    for m, n in [(8, 8), (10, 10), (16, 16), (32, 32), (49, 20), (20, 49), (64, 64), (100, 30)] * 6:
        a = np.asfortranarray(family(m, n).astype(np.float32))
        want = np.linalg.svd(a.astype(np.float64), compute_uv=False)
        for solver, errors in worst.items():
            got = solver(a).astype(np.float64)[: len(want)]
            errors.append(np.abs(got - want).max() / (want[0] * np.sqrt(max(a.shape)) * 2.0**-23))
    line = "".join(f"{max(errors):10.2f}" for errors in worst.values())
    print(f"{family.__name__:<12}{line}   " + "".join(f"{np.mean(errors):10.3f}" for errors in worst.values()))

print(f"\n{'size':<12}{'ours':>10}{'sgesdd':>10}{'sgejsv':>10}   microseconds, the least of many, values and both sides' vectors")
for m, n in [(8, 8), (8, 64), (64, 8), (16, 16), (24, 24), (32, 32), (49, 10), (10, 49), (30, 100), (64, 64), (100, 49)]:
    a = np.asfortranarray(gauss(m, n).astype(np.float32))
    least = []
    for solver in (prepared(a.shape), sgesdd, sgejsv):
        times = []
        end = time.perf_counter() + 0.4
        while time.perf_counter() < end:
            start = time.perf_counter()
            solver(a)
            times.append(time.perf_counter() - start)
        least.append(min(times) * 1e6)
    print(f"{m:>3} x {n:<6}" + "".join(f"{t:10.1f}" for t in least))
