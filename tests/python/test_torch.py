"""The interface of pytorch-grad-cam, held to that package and to torch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import decomcam  # noqa: E402
from decomcam.torch import ClassifierOutputTarget, DecomCAM  # noqa: E402


class Small(torch.nn.Module):
    """Two convolutions, of which the second is followed by an activation function in place, pooling and a linear head."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = torch.nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.relu = torch.nn.ReLU(inplace=True)
        self.head = torch.nn.Linear(12, 5)

    def forward(self, images):
        features = self.relu(self.second(torch.relu(self.first(images))))
        return self.head(features.mean((2, 3)) + (features * features).mean((2, 3)))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    return Small().eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(4))


def layer_of(model, images, category):
    """Activations after the second convolution, before the function in place, and their gradients."""
    activations = model.second(torch.relu(model.first(images))).detach().requires_grad_(True)
    features = torch.relu(activations)
    score = model.head(features.mean((2, 3)) + (features * features).mean((2, 3)))[:, category].sum()
    (gradients,) = torch.autograd.grad(score, activations)
    return activations.detach().numpy(), gradients.numpy()


@pytest.mark.parametrize("method", ["exact", "aligned", "grad-cam", "layer-cam", "eigen-cam", "hires-cam"])
def test_the_layer_is_the_one_before_what_works_in_place(model, images, method):
    activations, gradients = layer_of(model, images, 1)
    with DecomCAM(model, [model.second], method=method) as cam:
        maps = cam(input_tensor=images, targets=[ClassifierOutputTarget(1)] * 2)
    assert maps.shape == (2, 32, 48) and maps.dtype == np.float32
    assert maps.min() >= 0.0 and maps.max() == pytest.approx(1.0)
    for at in range(2):
        found = cam.results[0][at]
        if method in ("exact", "aligned"):
            assert np.array_equal(found.saliency, decomcam.decompose(activations[at], gradients[at], recipe=method).saliency)
        else:
            assert np.array_equal(found, decomcam.cam(method, activations[at], gradients[at]))


def test_weights_are_left_alone_and_hooks_go(model, images):
    with DecomCAM(model=model, target_layers=[model.second]) as cam:
        cam(images)
    assert all(weight.grad is None for weight in model.parameters())
    assert not model.second._forward_hooks
    with pytest.raises(decomcam.OptionsError):
        cam(images)


def test_frozen_weights_and_no_grad_are_no_obstacle(images):
    torch.manual_seed(5)
    frozen = Small().eval().requires_grad_(False)
    with torch.no_grad(), DecomCAM(frozen, [frozen.second]) as cam:
        assert cam(images).max() == pytest.approx(1.0)


def test_what_cannot_be_explained_is_said(model, images):
    unused = torch.nn.Conv2d(3, 3, 1)
    with DecomCAM(model, [unused]) as cam, pytest.raises(decomcam.ExplanationError, match="not run"):
        cam(images)
    with DecomCAM(model, [model.head]) as cam, pytest.raises(decomcam.OptionsError, match="reshape_transform"):
        cam(images)
    with pytest.raises(decomcam.OptionsError):
        DecomCAM(model, model.second)
    with pytest.raises(decomcam.OptionsError):
        DecomCAM(model, [model.second], method="grad-cam", components=3)
    with DecomCAM(model, [model.second]) as cam:
        with pytest.raises(decomcam.OptionsError, match="targets"):
            cam(images, [ClassifierOutputTarget(0)])
        with pytest.raises(decomcam.OptionsError, match="components=1"):
            cam(images, eigen_smooth=True)


def test_a_constant_network_has_an_empty_map(images):
    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 4, 1)

        def forward(self, images):
            return self.layer(images).mean((2, 3)) * 0.0 + torch.tensor([1.0, 2.0, 3.0, 4.0])

    with DecomCAM(constant := Constant(), [constant.layer]) as cam:
        assert not cam(images).any()


def test_smoothing_averages_over_flips(model, images):
    with DecomCAM(model, [model.second], method="grad-cam") as cam:
        smooth, plain = cam(images, aug_smooth=True), cam(images)
    assert smooth.shape == plain.shape and not np.array_equal(smooth, plain)


def test_attributions_have_captums_shape(model, images):
    with DecomCAM(model, [model.second]) as cam:
        assert cam.attribute(images, target=2).shape == (2, 1, 32, 48)


# pytorch-grad-cam computes in float32 with sums in another order; eigen-cam takes the sign that numpy's SVD happens to give.
@pytest.mark.parametrize("name, method", [("GradCAM", "grad-cam"), ("LayerCAM", "layer-cam"), ("HiResCAM", "hires-cam"), ("XGradCAM", "xgrad-cam"), ("EigenCAM", "eigen-cam")])
def test_maps_are_those_of_pytorch_grad_cam(model, images, name, method):
    package = pytest.importorskip("pytorch_grad_cam")
    targets = [ClassifierOutputTarget(1)] * 2
    # A layer that nothing changes in place: that package keeps no copy.
    with getattr(package, name)(model=model, target_layers=[model.first]) as theirs, DecomCAM(
        model, [model.first], method=method, upsample="bilinear"
    ) as ours:
        expected = theirs(input_tensor=images, targets=targets)
        found = ours(input_tensor=images, targets=targets)
    for one, other in zip(found, expected):
        difference = np.abs(one - other).max()
        if method == "eigen-cam" and difference > 1e-4:
            pytest.skip("the other sign of the component")
        assert difference < 1e-4


def test_an_empty_map_is_no_silence(images):
    """A head that reads one position says nothing of the others, and a score that everything lowers has no place that speaks for it."""

    class Corner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, images):
            features = torch.relu(self.layer(images)) + 1
            return torch.stack([features[:, :, 0, 0].sum(1), -features.sum((1, 2, 3))], 1)

    model = Corner().eval()
    inner = lambda features: features[:, :, 1:, 1:]
    with DecomCAM(model, [model.layer], reshape_transform=inner, method="layer-cam") as cam, pytest.warns(UserWarning, match="2 of the images .0, 1.: target layer 0 .*zero at every"):
        assert not cam(images, targets=[ClassifierOutputTarget(0)] * 2).any()
    with DecomCAM(model, [model.layer], method="layer-cam") as cam, pytest.warns(UserWarning, match="no place speaks for the score"):
        assert not cam(images, targets=[ClassifierOutputTarget(1)] * 2).any()
