"""The loops as textbooks write them: eager, float32, gradients toggled by hand, `.item()` for every term."""

import itertools
import random

import torch
import torch.nn.functional as F
from torch import nn

from diptych.contract import Clock
from diptych.networks.layers import initialise
from diptych.networks.patchgan import PatchGAN
from diptych.networks.resnet import ResNet
from diptych.networks.unet import UNet
from diptych.training.ema import EMA


def toggle(nets, on):
    for net in nets:
        for p in net.parameters():
            p.requires_grad = on


class Pix2Pix:
    def __init__(self, size, device, width=64):
        self.G = UNet(3, 3, width, depth=size.bit_length() - 1, dropout="repo").to(device)
        self.D = PatchGAN(6, width=width).to(device)
        initialise(self.G)
        initialise(self.D)
        self.opt_G = torch.optim.Adam(self.G.parameters(), 2e-4, (0.5, 0.999))
        self.opt_D = torch.optim.Adam(self.D.parameters(), 2e-4, (0.5, 0.999))
        self.bce = nn.BCEWithLogitsLoss()

    def step(self, batch):
        x, y = batch["source"], batch["target"]
        fake = self.G(x)
        toggle([self.D], True)
        self.opt_D.zero_grad()
        off, on = self.D(torch.cat([x, fake.detach()], 1)), self.D(torch.cat([x, y], 1))
        loss_fake, loss_real = self.bce(off, torch.zeros_like(off)), self.bce(on, torch.ones_like(on))
        ((loss_fake + loss_real) * 0.5).backward()
        self.opt_D.step()
        toggle([self.D], False)
        self.opt_G.zero_grad()
        judged = self.D(torch.cat([x, fake], 1))
        gan, l1 = self.bce(judged, torch.ones_like(judged)), 100 * F.l1_loss(fake, y)
        (gan + l1).backward()
        self.opt_G.step()
        return [term.item() for term in (loss_real, loss_fake, gan, l1)]


class ImagePool:
    def __init__(self, size=50):
        self.size, self.images = size, []

    def query(self, images):
        out = []
        for image in images.detach().split(1):
            if len(self.images) < self.size:
                self.images.append(image)
                out.append(image)
            elif random.random() > 0.5:
                at = random.randrange(self.size)
                out.append(self.images[at])
                self.images[at] = image
            else:
                out.append(image)
        return torch.cat(out)


class CycleGAN:
    """With the identity terms of the public code (weight 0.5)."""

    def __init__(self, size, device, width=64):
        blocks = 9 if size >= 256 else 6
        self.to_b, self.to_a = (ResNet(3, 3, width, blocks).to(device) for _ in range(2))
        self.D_a, self.D_b = (PatchGAN(3, width=width, norm="instance").to(device) for _ in range(2))
        for net in (self.to_b, self.to_a, self.D_a, self.D_b):
            initialise(net)
        gens, critics = [self.to_b, self.to_a], [self.D_a, self.D_b]
        self.opt_G = torch.optim.Adam(itertools.chain(*(n.parameters() for n in gens)), 2e-4, (0.5, 0.999))
        self.opt_D = torch.optim.Adam(itertools.chain(*(n.parameters() for n in critics)), 2e-4, (0.5, 0.999))
        self.pool_a, self.pool_b = ImagePool(), ImagePool()

    def step(self, batch):
        a, b = batch["a"], batch["b"]
        fake_b = self.to_b(a)
        back_a = self.to_a(fake_b)
        fake_a = self.to_a(b)
        back_b = self.to_b(fake_a)
        toggle([self.D_a, self.D_b], False)
        self.opt_G.zero_grad()
        terms = [5 * F.l1_loss(self.to_b(b), b), 5 * F.l1_loss(self.to_a(a), a)]
        for D, fake in ((self.D_b, fake_b), (self.D_a, fake_a)):
            judged = D(fake)
            terms.append(F.mse_loss(judged, torch.ones_like(judged)))
        terms += [10 * F.l1_loss(back_a, a), 10 * F.l1_loss(back_b, b)]
        sum(terms).backward()
        self.opt_G.step()
        toggle([self.D_a, self.D_b], True)
        self.opt_D.zero_grad()
        for D, real, fake in ((self.D_b, b, self.pool_b.query(fake_b)), (self.D_a, a, self.pool_a.query(fake_a))):
            on, off = D(real), D(fake)
            loss = 0.5 * (F.mse_loss(on, torch.ones_like(on)) + F.mse_loss(off, torch.zeros_like(off)))
            loss.backward()
            terms.append(loss)
        self.opt_D.step()
        return [term.item() for term in terms]


class UpdateRule:
    """A method's own update rule in a textbook loop: each backward pass gives gradients of all networks.

    With the setting `reuse=none` this is the order of the public code. `step` returns the loss terms of the step.
    """

    def __init__(self, method, precision="fp32"):
        self.ema_weights, self.precision = EMA(method), precision
        self.method, self.stage = method, method.stages()[-1]
        self.clock = Clock(self.stage.name, 0, self.stage.steps)
        self.adams = {
            name: torch.optim.Adam(
                player.parameters(), player.lr, player.betas, weight_decay=player.weight_decay, fused=True
            )
            for name, player in self.stage.players.items()
        }

    def step(self, batch):
        rule, terms = self.stage.updates(batch, self.clock), []
        device = next(iter(batch.values())).device.type
        while True:
            with torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16"):
                update = next(rule, None)
            if update is None:
                self.ema_weights.update(self.method)
                return terms
            for adam in self.adams.values():
                adam.zero_grad()
            sum(update[1].values()).backward()
            for name in (update[0],) if isinstance(update[0], str) else update[0]:
                self.adams[name].step()
            terms += [term.item() for term in update[1].values()]
