"""A file of the layout of StarGAN v2's landmark network (`wing.ckpt`) with random weights, and what it computes."""

import torch
import torch.nn.functional as F
from torch_files import bn, conv

WIDE = 256


def block(state, name, ins, outs):
    for number, (a, b) in enumerate(((ins, outs // 2), (outs // 2, outs // 4), (outs // 4, outs // 4)), 1):
        bn(state, f"{name}.bn{number}", a)
        conv(state, f"{name}.conv{number}", (b, a, 3, 3), False)
    if ins != outs:
        bn(state, f"{name}.downsample.0", ins)
        conv(state, f"{name}.downsample.2", (outs, ins, 1, 1), False)


def wing(seed=0):
    """A state dict by the names of the public code, with a further hourglass and without a counter."""
    torch.manual_seed(seed)
    state = {}
    conv(state, "conv1.conv", (64, 6, 7, 7), True)
    bn(state, "bn1", 64)
    for name, ins, outs in (("conv2", 64, 128), ("conv3", 128, 128), ("conv4", 128, WIDE), ("top_m_0", WIDE, WIDE)):
        block(state, name, ins, outs)
    conv(state, "m0.coordconv.conv", (WIDE, WIDE + 3, 1, 1), True)
    for name in (*(f"b{number}_{level}" for level in (4, 3, 2, 1) for number in (1, 2, 3)), "b2_plus_1"):
        block(state, f"m0.{name}", WIDE, WIDE)
    for name, outs in (("conv_last0", WIDE), ("l0", 99)):
        conv(state, name, (outs, WIDE, 1, 1), True)
    bn(state, "bn_end0", WIDE)
    del state["bn1.num_batches_tracked"]
    for key, value in state.items():
        if value.dim() == 4:
            value.normal_(0, value[0].numel() ** -0.5)
        elif key.endswith("bias"):
            value.sub_(1).mul_(0.2)
    return {**state, "m1.coordconv.conv.weight": torch.zeros(3), "al0.bias": torch.zeros(3)}


def heatmaps_of(state, x):
    """The network as its paper draws it, on images (N, 3, 256, 256) in [0, 1], from the tensors by name."""

    def norm(name, h):
        stats = (state[f"{name}.running_{what}"] for what in ("mean", "var"))
        return F.relu(F.batch_norm(h, *stats, state[f"{name}.weight"], state[f"{name}.bias"]))

    def convolved(name, h, **options):
        return F.conv2d(h, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    def placed(h):
        line = torch.arange(h.shape[2]) / (h.shape[2] - 1) * 2 - 1
        rows, columns = torch.meshgrid(line, line, indexing="ij")
        far = torch.hypot(rows, columns)
        return torch.cat([h, torch.stack([rows, columns, far / far.max()])[None].expand(len(h), -1, -1, -1)], 1)

    def blocked(name, h):
        kept = []
        shortcut = h
        if f"{name}.downsample.2.weight" in state:
            shortcut = convolved(f"{name}.downsample.2", norm(f"{name}.downsample.0", h))
        for number in (1, 2, 3):
            h = convolved(f"{name}.conv{number}", norm(f"{name}.bn{number}", h), padding=1)
            kept.append(h)
        return torch.cat(kept, 1) + shortcut

    def hourglass(level, h):
        low = blocked(f"m0.b2_{level}", F.avg_pool2d(h, 2))
        low = hourglass(level - 1, low) if level > 1 else blocked("m0.b2_plus_1", low)
        low = blocked(f"m0.b3_{level}", low)
        return blocked(f"m0.b1_{level}", h) + low.repeat_interleave(2, 2).repeat_interleave(2, 3)

    h = norm("bn1", convolved("conv1.conv", placed(x), stride=2, padding=3))
    h = F.avg_pool2d(blocked("conv2", h), 2)
    h = convolved("m0.coordconv.conv", placed(blocked("conv4", blocked("conv3", h))))
    h = blocked("top_m_0", hourglass(4, h))
    return convolved("l0", norm("bn_end0", convolved("conv_last0", h)))[:, :98]
