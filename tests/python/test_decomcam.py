"""The module as people use it: every kind of photo, the numbers of the command, the errors of bad input, and the decomposition held to numpy's SVD."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import decomcam
import numpy as np
import pytest
from PIL import Image

CHELSEA = os.environ["CHELSEA"]
QUICK = {"method": "aligned", "integrate": "features"}


@pytest.fixture(scope="module")
def session():
    return decomcam.Session(threads=2)


@pytest.fixture(scope="module")
def why(session):
    return session.explain(CHELSEA, "a cat", **QUICK)


def test_a_photo_is_a_path_bytes_a_picture_or_an_array(session, why):
    picture = Image.open(CHELSEA)
    with open(CHELSEA, "rb") as file:
        encoded = file.read()
    for photo in (encoded, bytearray(encoded), picture, np.asarray(picture.convert("RGB")), np.asarray(picture.convert("RGB"))[:, ::-1][:, ::-1]):
        assert np.array_equal(session.explain(photo, "a cat", **QUICK).saliency, why.saliency)
    assert np.array_equal(why.photo, np.asarray(picture.convert("RGB")))


def test_it_is_the_explanation_of_the_command(why):
    command = [sys.executable, "-m", "decomcam", "explain", CHELSEA, "-t", "a cat", "--method", "aligned", "--integrate", "features", "--threads", "2", "-q", "-o", "-"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    for key in ("scores", "parts", "map", "warnings", "model"):
        assert told[key] == why.report[key], key


def test_an_explanation_has_maps_parts_and_numbers(why):
    assert why.saliency.shape == Image.open(CHELSEA).size[::-1] and why.saliency.dtype == np.float32
    assert why.saliency.min() >= 0.0 and why.saliency.max() == 1.0
    assert len(why.parts) == 10 and all(part.map.min() >= 0.0 for part in why.parts)
    assert np.array_equal(why.grid, sum(part.weight * part.map for part in why.parts[1:]) + why.parts[0].weight * why.parts[0].map) or np.allclose(
        why.grid, sum(part.weight * part.map for part in why.parts), rtol=1e-5, atol=1e-6 * why.grid.max()
    )
    assert "a cat" in repr(why) and str(why)


def test_maps_lie_where_the_model_looked(session, why):
    """The network sees the square in the middle of a photo of 300 x 451; with bars added, a square around it."""
    assert why.covers == {"top": 0, "left": 75, "height": 300, "width": 300}
    part = max(why.parts, key=lambda part: part.weight)
    assert part.saliency.shape == why.saliency.shape and part.saliency[:, :75].max() == part.saliency[:, 375:].max() == 0.0
    row, column = (int(at) for at in np.unravel_index(part.saliency.argmax(), part.saliency.shape))
    cell = np.unravel_index(part.map.argmax(), part.map.shape)
    rows, columns = part.map.shape
    assert (int(row * rows / 300), int((column - 75) * columns / 300)) == tuple(int(at) for at in cell)
    padded = decomcam.Session(threads=2, fit="pad").explain(CHELSEA, "a cat", **QUICK)
    assert padded.covers["height"] == padded.covers["width"] == 451 and padded.covers["top"] in (-76, -75)


def test_it_is_saved_and_shown(why, tmp_path):
    files = why.save(tmp_path / "explanation")
    assert all(os.path.exists(file) for file in files)
    assert any(file.endswith("explanation.json") for file in files)
    assert why._repr_html_().startswith("<i")


def test_texts_are_ranked(session):
    first, second = session.rank(CHELSEA, ["a toaster", "a cat"])
    assert first.text == "a cat" and first.score > second.score


def test_a_broken_photo_does_not_end_the_others(session, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    first, second = session.explain_many([broken, CHELSEA], "a cat", **QUICK)
    assert isinstance(first, decomcam.PhotoError) and "broken.jpg" in str(first)
    assert isinstance(second, decomcam.Explanation)


def test_many_at_once_are_as_one_by_one_in_order_and_not_far_ahead(session):
    photos = [CHELSEA, np.full((40, 60, 3), 90, np.uint8), CHELSEA, np.zeros((64, 64, 3), np.uint8)] * 2
    one_by_one = [session.explain(photo, "a cat", **QUICK) for photo in photos]
    taken = []

    def taking():
        for photo in photos:
            taken.append(photo)
            yield photo

    for at, why in enumerate(session.explain_many(taking(), "a cat", **QUICK)):
        assert len(taken) <= at + 1 + 2
        assert np.array_equal(why.grid, one_by_one[at].grid) and why.scores == one_by_one[at].scores
    assert at + 1 == len(taken) == len(photos)
    assert len(list(session.explain_many(photos[:1], "a cat", **QUICK))) == 1
    assert list(session.explain_many([], "a cat", **QUICK)) == []


def test_who_takes_no_more_does_not_wait_for_photos_at_work(session):
    small = np.zeros((64, 64, 3), np.uint8)
    answers = session.explain_many(iter([small] * 9), "a cat", method="rise", rise_masks=1, check=False)
    assert isinstance(next(answers), decomcam.Explanation)
    answers.close()
    begun = threading.Event()

    # With so many masks, each photo takes hours.
    def photos():
        yield small
        begun.set()
        yield small

    waiting = threading.Thread(target=lambda: (begun.wait(), time.sleep(1.0), signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)))
    waiting.start()
    with pytest.raises(KeyboardInterrupt):
        list(session.explain_many(photos(), "a cat", method="rise", rise_masks=1_000_000, check=False))
    waiting.join()


@pytest.mark.parametrize(
    "kind, call",
    [
        (decomcam.PhotoError, lambda session: session.explain("/nowhere.png", "a cat")),
        (decomcam.PhotoError, lambda session: session.explain(b"no picture", "a cat")),
        (decomcam.OptionsError, lambda session: session.explain(np.zeros((4, 4), np.uint8), "a cat")),
        (decomcam.OptionsError, lambda session: session.explain(np.zeros((0, 4, 3), np.uint8), "a cat")),
        (decomcam.OptionsError, lambda session: session.explain(np.zeros((4, 4, 3), np.float32), "a cat")),
        (decomcam.OptionsError, lambda session: session.explain(3, "a cat")),
        (decomcam.OptionsError, lambda session: session.explain(CHELSEA, "a cat", method="grad-can")),
        (decomcam.OptionsError, lambda session: session.explain(CHELSEA, "a cat", components=0)),
        (decomcam.OptionsError, lambda session: session.explain(CHELSEA, "a cat", method="grad-cam", components=3)),
        (decomcam.OptionsError, lambda session: session.explain(CHELSEA, "a cat", sign="up")),
        (decomcam.OptionsError, lambda session: session.rank(CHELSEA, "a cat")),
        (decomcam.ModelError, lambda session: decomcam.Session("/nowhere.onnx")),
        (decomcam.OptionsError, lambda session: decomcam.Session(preset="imagenat")),
    ],
)
def test_bad_input_has_an_exception_of_its_kind(session, kind, call):
    with pytest.raises(kind) as raised:
        call(session)
    assert isinstance(raised.value, decomcam.DecomcamError) and len(str(raised.value)) > 20


def weighted(activations, gradients):
    """Positions x channels of A_c w_c in float64, and the first-order map."""
    weights = gradients.astype(np.float64).mean((1, 2))
    maps = (weights[:, None, None] * activations).reshape(len(weights), -1).T
    return maps, maps.sum(1)


def test_parts_are_those_of_numpys_svd():
    random = np.random.default_rng(1)
    activations = random.normal(size=(20, 4, 5)).astype(np.float32)
    gradients = random.normal(size=(20, 4, 5)).astype(np.float32)
    made = decomcam.decompose(activations, gradients, components=6, affinity=False)
    maps, first_order = weighted(activations, gradients)
    centred = maps - maps.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(made.singular_values, values[:6], rtol=1e-5)
    # The map of exact is the mean of the first-order map and its projection on the parts, whatever their signs.
    projected = left[:, :6] @ (left[:, :6].T @ (first_order - first_order.mean()))
    assert np.allclose(made.saliency.ravel(), first_order.mean() + projected, atol=1e-5 * np.abs(first_order).max())
    assert np.allclose(np.abs(made.components.reshape(6, -1)), np.abs((left * values)[:, :6].T), atol=1e-4 * values[0])
    # Of any layout: rows of channels last, or of twice the width.
    other = np.asfortranarray(activations)
    assert np.array_equal(decomcam.decompose(other, gradients, components=6, affinity=False).saliency, made.saliency)


def test_all_parts_sum_to_the_first_order_map():
    random = np.random.default_rng(2)
    activations, gradients = random.random((2, 8, 3, 3)).astype(np.float32)
    made = decomcam.decompose(activations, gradients, components=8, affinity=False)
    _, first_order = weighted(activations, gradients)
    assert np.allclose(made.saliency.ravel(), first_order, atol=1e-5 * np.abs(first_order).max())
    hires = decomcam.cam("hires-cam", activations, gradients)
    expected = np.maximum((activations * gradients).sum(0), 0)
    assert np.allclose(hires, expected, rtol=1e-5) or np.allclose(hires, (activations * gradients).sum(0), rtol=1e-5)


@pytest.mark.parametrize(
    "kind, activations, gradients, options",
    [
        (decomcam.OptionsError, np.zeros((2, 3)), np.zeros((2, 3)), {}),
        (decomcam.OptionsError, np.zeros((2, 3, 3)), np.zeros((2, 3, 4)), {}),
        (decomcam.OptionsError, np.zeros((0, 3, 3)), np.zeros((0, 3, 3)), {}),
        (decomcam.ExplanationError, np.full((2, 3, 3), np.nan), np.ones((2, 3, 3)), {}),
        (decomcam.ExplanationError, np.ones((2, 3, 3)), np.full((2, 3, 3), np.inf), {}),
        (decomcam.OptionsError, np.ones((2, 3, 3)), np.ones((2, 3, 3)), {"components": 3}),
        (decomcam.OptionsError, np.ones((2, 3, 3)), np.ones((2, 3, 3)), {"recipe": "paper"}),
        (decomcam.OptionsError, np.ones((2, 3, 3)), np.ones((2, 3, 3)), {"recipe": "grad-cam"}),
    ],
)
def test_arrays_that_cannot_be_decomposed_are_refused(kind, activations, gradients, options):
    with pytest.raises(kind):
        decomcam.decompose(activations, gradients, **options)


def test_python_goes_on_while_a_photo_is_explained(session):
    import threading

    counted = 0
    done = threading.Event()

    def work():
        session.explain(CHELSEA, "a cat", **QUICK)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        counted += 1
        done.wait(0.001)
    thread.join()
    assert counted > 1
