"""Golden values of the network and the scene, to the digits and the tolerance that float32 allows."""

import functools
from typing import NamedTuple

import torch
from dpvo_golden import CENTRES, TANGENTS, golden_images, golden_network, golden_scene, neighbours
from torch import Tensor
from torch.nn.functional import avg_pool2d

from visloc_dpvo import bundle, frontend, lie
from visloc_dpvo.correlation import correlate
from visloc_dpvo.projection import flow_magnitude, reproject

SIX_DIGITS = 5e-6  # relative size of half of the sixth digit that is stated
CONVOLUTION = 3e-6  # rounding of a chain of convolutions that add up in another order


class Features(NamedTuple):
    fmap: Tensor
    imap: Tensor
    gmap: Tensor
    context: Tensor
    patches: Tensor


@functools.cache
def network():
    return golden_network()


@functools.cache
def features() -> Features:
    with torch.inference_mode():
        maps = [network().encode(image) for image in golden_images()]
        cut = [network().extract(fmap, imap, torch.tensor(CENTRES)) for fmap, imap in maps]
    gmap, context, patches = (torch.cat(parts) for parts in zip(*cut, strict=True))
    return Features(*(torch.stack(parts) for parts in zip(*maps, strict=True)), gmap, context, patches)


@functools.cache
def correlations() -> Tensor:
    scene, fmap = golden_scene(), features().fmap
    return correlate(features().gmap, (fmap, avg_pool2d(fmap, 4)), reproject(*scene), scene.kk, scene.jj)


def ask(net: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scene = golden_scene()
    with torch.inference_mode():
        return network().update(net, features().context[scene.kk], correlations(), scene.ii, scene.jj, scene.kk)


def near(values: Tensor, stated: list[float] | float, absolute: float = 0.0) -> bool:
    return torch.allclose(values, torch.tensor(stated), rtol=SIX_DIGITS, atol=absolute)


def test_weights_follow_from_their_formula():
    state = network().state_dict()
    assert near(state["patchify.fnet.conv1.weight"][0, 0, 0, :3], [-0.2, 0.116538, 0.0330768])
    assert near(state["update.d.1.weight"][0, :3], [-0.054743, -0.106382, 0.0894659])


def test_images_follow_from_their_formula():
    first = golden_images()[0]
    assert (first[0, 0, 0], first[1, 10, 20], first[2, 63, 95]) == (127, 19, 123)
    assert near(first.float().mean(), 127.44)


def test_matching_features():
    fmap = features().fmap
    assert near(fmap[0][[0, 5, 127], [0, 7, 15], [0, 11, 23]], [-0.523794, -0.921036, 0.327434], CONVOLUTION)
    assert near(fmap.abs().mean(), 0.535205)


def test_context():
    imap = features().imap
    assert near(imap[0][[0, 5, 383], [0, 7, 15], [0, 11, 23]], [20.7945, -54.1207, -14.2588])
    assert near(imap.abs().mean(), 81.6603)


def test_patches():
    assert near(features().gmap[1, 0, [0, 2], [2, 0]], [-0.131781, -0.625665], CONVOLUTION)
    assert torch.equal(features().patches[:, :2], golden_scene().patches[:, :2])
    assert torch.equal(features().context[6], features().imap[1, :, 9, 18])


def test_poses():
    stated = [0.250809, -0.018271, 0.0464302, -0.00999942, 0.0149991, 0.00499971, 0.999825]
    assert near(golden_scene().poses[2], stated)


def test_projections():
    coords = reproject(*golden_scene())
    assert near(coords[0, :, 1, 1], [4.82798, 4.36162])
    assert near(coords[0, :, 0, 2], [5.80784, 3.39469])
    assert near(coords[5, :, 1, 1], [11.5938, 6.91009])


def test_correlation():
    index = [0, 1, 2, 18, 126, 440, 441, 881]
    edge0 = [163.04, 0, 74.465, 202.859, 139.511, 42.548, 46.9115, 0]
    edge5 = [39.2059, 0, 33.5137, 43.8123, 39.228, 38.7456, 36.3391, 0]
    assert near(correlations()[0, index], edge0, absolute=2e-4)
    assert near(correlations()[5, index], edge5, absolute=2e-4)
    assert near(correlations().abs().mean(), 32.7527)


def test_neighbours():
    before, after = neighbours(*golden_scene()[3:])
    assert before.tolist() == [2, -1, 1, 4, -1, 6, -1, 8, -1, -1, -1]
    assert after.tolist() == [-1, 2, 0, -1, 3, -1, 5, -1, 7, -1, -1]


def test_update():
    net, delta, weight = ask(torch.zeros(11, 384))
    assert near(net[0, :3], [-11.885, -0.0962517, 7.19211], absolute=1.2e-5)
    assert near(net[10, :3], [-14.509, -0.201808, 10.3728], absolute=1.2e-5)
    assert near(net.abs().mean(), 3.18482)
    edges = [0, 5, 10]
    assert near(delta[edges], [[-0.0133324, 1.74535], [0.747532, 1.5214], [1.91121, 1.17427]], absolute=3.5e-6)
    assert near(weight[edges], [[0.553001, 0.926566], [0.736117, 0.914602], [0.904479, 0.900079]], absolute=8e-7)


def test_second_update():
    _, delta, weight = ask(ask(torch.zeros(11, 384))[0])
    assert near(delta[0], [-0.211297, 1.72433], absolute=3.5e-6)
    assert near(weight[0], [0.508776, 0.923926], absolute=8e-7)


def adjusted(first_free: int) -> tuple[Tensor, Tensor]:
    poses, patches, intrinsics, ii, jj, kk = golden_scene()
    e = torch.arange(11.0)
    shift = torch.stack((0.6 * (1 + e).sin(), 0.6 * (2 * e).cos()), 1)
    target = reproject(*golden_scene())[:, :, 1, 1] + shift
    weight = torch.stack((0.5 + 0.04 * e, 0.9 - 0.05 * e), 1)
    report = bundle.adjust(poses, patches, intrinsics, target, weight, ii, jj, kk, first_free, 3)
    assert report == bundle.BundleReport(iterations=2, edges=11, edges_used=11)
    return poses, patches[:, 2]


def test_adjustment():
    poses, depths = adjusted(1)
    stated = [
        [0.094849, -0.009228, 0.182167, 0.011838, -0.032117, 0.016980, 0.999270],
        [0.143999, -0.048831, 0.278630, -0.023944, -0.021070, -0.011549, 0.999425],
    ]
    assert near(poses[1:], stated, absolute=1e-4)
    assert torch.equal(poses[0], golden_scene().poses[0])
    stated = [0.67027, 0.60177, 0.3, 0.81513, 0.5, 0.99111]
    assert near(depths[[0, 1, 2, 5, 6, 9], 1, 1], stated, absolute=1e-4)
    assert torch.equal(depths, depths[:, 1:2, 1:2].expand(-1, 3, 3))
    assert torch.equal(depths[[3, 4, 7]], golden_scene().patches[[3, 4, 7], 2])


def test_adjustment_of_the_last_pose_alone():
    poses, depths = adjusted(2)
    assert near(poses[2], [0.163501, -0.053297, 0.061225, -0.012929, 0.034051, -0.033293, 0.998782], absolute=1e-4)
    assert torch.equal(poses[:2], golden_scene().poses[:2])
    assert near(depths[0, 1, 1], 0.281626, absolute=1e-4)


def test_flow():
    flow, valid = flow_magnitude(*golden_scene())
    assert near(flow[0].mean(), 1.47113)
    assert valid.all()


def test_damped_motion():
    poses = golden_scene().poses
    ahead = frontend.extrapolate(poses[2], poses[1], 1.0, 0.5)
    assert near(ahead, [0.326084, -0.000252, 0.059320, -0.017498, 0.017497, 0.011249, 0.999631], absolute=1e-6)
    assert torch.allclose(lie.log(poses), torch.tensor(TANGENTS), atol=1e-7)
