"""Every registered network: forward, backward, odd sizes, weights there and back; and what ours promises."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from faintsky.errors import InputError
from faintsky.models import load_model, save_model
from faintsky.networks import make_network
from faintsky.networks.local_unet import TAKEN, plane_noise, starlet_planes
from faintsky.registry import NETWORKS
from faintsky.source_model import frequencies_2d, gaussian_transform

pytestmark = pytest.mark.learning

SIZED = {"blobs_finder": "size", "dda": "tile", "decoras": "size", "deep_gru": "channels"}
"""Argument of the networks that take one size of input only."""


def sized(name, inputs):
    """A network's arguments for its inputs."""
    return {SIZED[name]: inputs[0].shape[-1]} if name in SIZED else {}


def outputs(network, inputs):
    made = network(*inputs)
    return made if isinstance(made, tuple) else (made,)


def awakened(name, seed=0, **arguments):
    """A network whose layers that begin at zero do something."""
    torch.manual_seed(seed)
    network = make_network(name, **arguments)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.02 * torch.randn_like(weight)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [32, 45])
def test_forward_is_finite_and_the_same_twice(name, size):
    torch.manual_seed(1)
    inputs = NETWORKS[name].example(size)
    network = awakened(name, **sized(name, inputs))
    with torch.no_grad():
        first, second = outputs(network, inputs), outputs(network, inputs)
    for a, b in zip(first, second, strict=True):
        assert a.shape[0] == inputs[0].shape[0]
        assert torch.isfinite(a).all()
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_is_learned(name):
    torch.manual_seed(2)
    inputs = NETWORKS[name].example(32)
    network = awakened(name, **sized(name, inputs)).train()
    sum((o**2).sum() for o in outputs(network, inputs)).backward()
    idle = [k for k, w in network.named_parameters() if w.grad is None or not w.grad.abs().sum() > 0]
    assert not idle


@pytest.mark.parametrize("name", NETWORKS)
def test_examples_of_a_batch_do_not_meet(name):
    torch.manual_seed(3)
    inputs = NETWORKS[name].example(32)
    network = awakened(name, **sized(name, inputs))
    with torch.no_grad():
        whole = outputs(network, inputs)
        one = outputs(network, tuple(i[:1] for i in inputs))
    for a, b in zip(whole, one, strict=True):
        torch.testing.assert_close(a[:1], b, rtol=1e-4, atol=1e-5)


def test_half_precision_halves_the_file_and_leaves_the_answer(tmp_path):
    network = awakened("shape_resnet", width=8)
    network(torch.rand(64, 1, 64, 64))
    with torch.no_grad():
        seen = torch.rand(4, 1, 64, 64)
        before = network(seen)
    sizes = []
    for half in (False, True):
        entry = {"flux": ("shape_resnet", {"width": 8}, network)}
        model = save_model(
            tmp_path / str(half), name="m", job="detect", settings={}, networks=entry, half=half
        )
        sizes.append((model.path / "flux.safetensors").stat().st_size)
    after = model.network("flux")
    assert sizes[1] < 0.6 * sizes[0]
    assert {v.dtype for v in after.state_dict().values()} == {torch.float32, torch.int64}
    with torch.no_grad():
        assert 0 < float((after(seen) - before).abs().max()) < 0.01 * float(before.abs().max())


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_there_and_back(name, tmp_path):
    inputs = NETWORKS[name].example(32)
    arguments = sized(name, inputs)
    network = awakened(name, **arguments)
    save_model(
        tmp_path / "m", name="m", job="denoise", settings={}, networks={"n": (name, arguments, network)}
    )
    model = load_model(tmp_path / "m")
    with torch.no_grad():
        pairs = zip(outputs(network, inputs), outputs(model.network("n"), inputs), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    with pytest.raises(InputError, match="no network 'other'"):
        model.network("other")
    before = model.hash
    again = awakened(name, seed=5, **arguments)
    save_model(tmp_path / "m", name="m", job="denoise", settings={}, networks={"n": (name, arguments, again)})
    assert load_model(tmp_path / "m").hash != before
    (tmp_path / "m" / "n.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="damaged"):
        model.network("n")


@pytest.mark.parametrize(
    ("name", "arguments", "weights"),
    [
        ("blobs_finder", {}, 33_719_163),  # 33.7 million
        ("blobs_finder", {"bare": True}, 33_718_809),
        ("dda", {}, 26_354_633),  # 26.2 million in the dense layers, 210 MB in double precision
        ("dda", {"dense": 400}, 52_569_233),  # "twice this value"
        ("dda", {"levels": 4, "kernel": 5, "dense": 50}, 1_956_019),
        ("decoras", {}, 8_454_841),
        ("deep_gru", {}, 1_058_400),  # 1.06 million
        ("deep_gru", {"head": "per_channel"}, 6_785),
        ("shape_resnet", {}, 11_301_825),  # 11.3 million
        ("shape_resnet", {"stem": 2, "pool": "mean"}, 11_301_825),
        ("shape_resnet", {"outputs": 5}, 11_301_825 + 4 * 257),
    ],
)
def test_published_networks_are_as_large_as_published(name, arguments, weights):
    with torch.device("meta"):
        network = make_network(name, **arguments)
    assert sum(w.numel() for w in network.parameters()) == weights


def test_the_published_denoiser_has_65536_features_before_its_dense_layer():
    with torch.device("meta"):
        network = make_network("dda")
    assert network.into.in_features == network.back.out_features == 65_536
    assert sum(layer.weight.numel() for layer in (network.into, network.back)) == 26_214_400
    sizes = [tuple(layer.weight.shape[:2]) for layer in (*network.encoder, *network.decoder, network.out)]
    assert sizes == [(32, 1), (64, 32), (64, 64), (32, 64), (1, 32)]


@pytest.mark.parametrize("name", ["blobs_finder", "dda", "decoras"])
def test_autoencoders_keep_the_size_and_the_unit_range(name):
    network = awakened(name, **{SIZED[name]: 64})
    with torch.no_grad():
        made = network(torch.rand(3, 1, 64, 64))
    assert made.shape == (3, 1, 64, 64)
    assert made.min() >= 0
    assert made.max() <= 1


@pytest.mark.parametrize(("latent", "squeeze", "share"), [(16, 4, 1.0), (8, 4, 0.5)])
def test_dense_layers_may_begin_as_an_identity(latent, squeeze, share):
    torch.manual_seed(0)
    network = make_network("blobs_finder", size=32, latent=latent, squeeze=squeeze, identity=True)
    x = torch.randn(200, 16).clamp(-2, 2)
    made = network.bottleneck(x) - 3
    kept = float(torch.corrcoef(torch.stack([x.flatten(), made.detach().flatten()]))[0, 1])
    assert kept**2 == pytest.approx(share, abs=0.1)


def test_autoencoder_has_the_shapes_of_table_3():
    network = make_network("blobs_finder")
    seen = []
    for layer in [*network.encoder[::4], *network.bottleneck[::2], *network.decoder, network.out]:
        layer.register_forward_hook(lambda _, __, made: seen.append(tuple(made.shape[1:])))
    with torch.no_grad():
        network.eval()(torch.zeros(1, 1, 256, 256))
    down = [(8, 128, 128), (16, 64, 64), (32, 32, 32), (64, 16, 16)]
    assert seen == [*down, (1024,), (64 * 16 * 16,), *down[-2::-1], (1, 256, 256), (1, 256, 256)]


def test_the_small_head_takes_any_number_of_channels():
    network = awakened("deep_gru", head="per_channel")
    with torch.no_grad():
        assert network(torch.randn(2, 77)).shape == (2, 77)
        ahead = network(torch.zeros(1, 60))
        late = network(torch.nn.functional.pad(torch.zeros(1, 59), (0, 1), value=5.0))
    # how far back it is felt depends on the weights, and on the processor's rounding
    assert (ahead - late)[0, 54:59].abs().max() > 1e-4, "what comes later is seen, too"


@pytest.mark.parametrize("arguments", [{"join": "concatenate"}, {"pool": "mean"}, {"stem": 2}])
def test_residual_networks_give_as_many_values_as_asked(arguments):
    network = awakened("shape_resnet", outputs=3, **arguments)
    last = []
    network.blocks.register_forward_hook(lambda _, __, made: last.append(made.shape[1:]))
    with torch.no_grad():
        assert network(torch.rand(2, 1, 64, 64)).shape == (2, 3)
    side = 2 if "stem" in arguments else 4
    assert last[0] == (512, side, side)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("blobs_finder", {"size": 100}),
        ("dda", {"levels": 5}),
        ("dda", {"kernel": 4}),
        ("deep_gru", {"head": "no"}),
        ("shape_resnet", {"join": "no"}),
    ],
)
def test_wrong_arguments_of_published_networks(name, arguments):
    with pytest.raises(InputError):
        make_network(name, **arguments)


def test_unknown_names_and_arguments():
    with pytest.raises(InputError, match="local_unet"):
        make_network("no_such")
    with pytest.raises(InputError, match="no_such_argument"):
        make_network("local_unet", no_such_argument=1)


def test_local_unet_sees_no_farther_than_it_says():
    network = awakened("local_unet", widths=(8, 12, 16), encoder=(1, 1, 1), decoder=(1, 1))
    size, at = 2 * network.reach + 3 * network.stride, network.reach + network.stride
    image = torch.zeros(1, 1, size, size, requires_grad=True)
    mean, sigma = network(image + 1, torch.ones_like(image), torch.tensor([[5.0, 4.0, 0.6, 0.8]]))
    (mean[..., at, at].sum() + sigma[..., at, at].sum()).backward()
    seen = torch.nonzero(image.grad[0, 0])
    farthest = int((seen - at).abs().max())
    assert network.reach - 3 * network.stride < farthest <= network.reach


def test_local_unet_leaves_an_empty_image_empty_and_keeps_signs():
    network = awakened("local_unet")
    beam = torch.tensor([[5.0, 4.0, 0.6, 0.8]])
    blank = torch.zeros(1, 1, 48, 48)
    with torch.no_grad():
        mean, sigma = network(blank, blank, beam)
        assert not mean.any()
        assert (sigma > 0).all()


def test_local_unet_depends_on_beam_and_weight():
    network = awakened("local_unet")
    torch.manual_seed(4)
    image, weight = torch.randn(1, 1, 48, 48), torch.ones(1, 1, 48, 48)
    beam = torch.tensor([[5.0, 4.0, 0.6, 0.8]])
    with torch.no_grad():
        one = network(image, weight, beam)[0]
        assert (network(image, weight, torch.tensor([[5.0, 4.0, -0.6, 0.8]]))[0] - one).abs().max() > 1e-4
        assert (network(image, weight, torch.zeros(1, 4))[0] - one).abs().max() > 1e-4
        assert (network(image, 0.5 * weight, beam)[0] - one).abs().max() > 1e-4


def test_local_unet_takes_little_from_a_bright_source_in_half_precision():
    """However bright it is, an untrained network takes some noise of each plane, to single precision."""
    network = make_network("local_unet").eval()
    image = torch.zeros(1, 1, 64, 64)
    image[..., 30:34, 30:34] = 54321.0
    beam = torch.tensor([[5.0, 4.0, 0.6, 0.8]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        taken = image - network(image, torch.ones_like(image), beam)[0]
    most = TAKEN * float(plane_noise(beam).sum())
    assert 0.5 * most < float(taken.abs().max()) < most + 0.05


@pytest.mark.parametrize("beam", [(0.0, 0.0, 0.0), (3.0, 2.5, 20.0), (8.0, 3.0, 120.0)])
def test_noise_of_starlet_planes_is_that_of_noise_with_the_beam_s_power(beam):
    size, (major, minor, pa) = 512, beam
    noise = np.random.default_rng(3).standard_normal((size, size))
    if major:
        transfer = gaussian_transform(*frequencies_2d(size, size), 0.0, 0.0, major, minor, pa).real
        noise = np.fft.irfft2(np.fft.rfft2(noise) * np.sqrt(transfer), s=(size, size))
    image = torch.tensor(noise / noise.std(), dtype=torch.float32)[None, None]
    fine, wide = starlet_planes(image, image == image, 4)
    whole = fine.sum(dim=1, keepdim=True) + functional.interpolate(
        wide.sum(dim=1, keepdim=True), scale_factor=4.0, mode="bilinear"
    )
    torch.testing.assert_close(whole, image, rtol=0, atol=1e-5)
    blank = torch.ones_like(image, dtype=torch.bool)
    blank[..., :20, :20] = False
    for own, masked in zip((fine, wide), starlet_planes(image * blank, blank, 4), strict=True):
        # what is blank is felt near it only
        far = own.shape[-1] // 2
        torch.testing.assert_close(masked[..., far:, far:], own[..., far:, far:], rtol=0, atol=1e-5)
    twice = math.radians(2 * pa)
    expected = plane_noise(torch.tensor([[major, minor, math.sin(twice), math.cos(twice)]]))[0]
    measured = torch.cat([p[0, :, n:-n, n:-n].std(dim=(1, 2)) for p, n in ((fine, 64), (wide, 16))])
    # wide planes have few independent pixels
    torch.testing.assert_close(measured[:4], expected[:4], rtol=0.04, atol=0)
    torch.testing.assert_close(measured[4:], expected[4:], rtol=0.25, atol=0)
