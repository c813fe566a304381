"""DDPM, DDIM and flow matching: one U-Net, three ways to draw from noise."""

import torch
from torch.optim.swa_utils import AveragedModel

from .. import diffusion, nets
from ..runtime import budget
from .recipe import Recipe, hard, parts, update


def _average(old, new, n):
    torch._foreach_lerp_(old, new, 1 - min(0.998, (int(n) + 1) / (int(n) + 10)))


def _unet(device):
    channels, patch = budget(smoke=((8, 16), 2), laptop=((32, 64), 2), gpu=((64, 128), 1))
    net = nets.UNet(channels, patch=patch).to(device)
    return net, AveragedModel(net, multi_avg_fn=_average), torch.optim.Adam(net.parameters(), 2e-3, fused=True)


def _drawn(count, device, follow):
    """Bits (count, 1, 28, 28): where ``follow(noise)``, which yields images on their way, ends; 500 at a time."""
    pieces = []
    for n in parts(count):
        *_, x = follow(torch.randn(n, 1, 28, 28, device=device))
        pieces.append(hard(x))
    return torch.cat(pieces)


def ddpm(name, device):
    """DDPM of 06, which predicts v; DDIM of 07 draws from the same network."""
    net, ema, optimizer = _unet(device)
    schedule = diffusion.cosine_schedule(budget(smoke=30, laptop=1000, gpu=1000)).to(device)

    def step(bits):
        x0 = 2 * bits - 1
        t = torch.randint(1, schedule.T + 1, (len(x0),), device=device)
        eps = torch.randn_like(x0)
        x_t = diffusion.q_sample(x0, t, eps, schedule)
        target = diffusion.convert(x_t, t, schedule, eps=eps).v
        loss = (target - net(x_t, t)).square().mean()
        update(optimizer, loss)
        ema.update_parameters(net)
        return {"loss": loss}

    def predict(x_t, t):
        return diffusion.convert(x_t, t, schedule, v=ema(x_t, t)).eps

    def drawer(sampler, steps):
        return lambda count: _drawn(count, device, lambda x: sampler(predict, x, schedule, steps=steps))

    def nats(bits):
        return ddpm_bound(ema, schedule, bits, budget(smoke=2, laptop=20, gpu=100))

    fifty, ten = budget(smoke=(4, 2), laptop=(50, 10), gpu=(50, 10))
    draws = {
        f"DDPM, {fifty} steps": drawer(diffusion.ddpm, fifty),
        f"DDIM, {fifty} steps": drawer(diffusion.ddim, fifty),
        f"DDIM, {ten} steps": drawer(diffusion.ddim, ten),
    }
    latent = {entrant: "784 numbers, by DDIM" if entrant.startswith("DDIM") else "none" for entrant in draws}
    return Recipe(
        {"net": net, "ema": ema, "optimizer": optimizer}, step, 32, draws, (net,), nats,
        f"at most: variational bound over {schedule.T} steps, some steps drawn", {optimizer: 2e-3}, latent,
    )  # fmt: skip


@torch.no_grad()
def ddpm_bound(velocity, schedule, bits, each):
    """The bound of 06 for bits, (B,) nats: L_T + L_(T-1) + ... + L_0, the middle from ``each`` times per image.

    For 2 <= t the term is (SNR_(t-1) - SNR_t) |x_0 - x_hat|^2 / 2, with the posterior variance; L_0 is minus the log
    probability that a Gaussian around x_hat, with variance beta_1, falls on the right side of 0. Sums are in float64,
    on the CPU, since not every accelerator has it.
    """
    x0, T = 2 * bits - 1, schedule.T
    snr, beta, a = (v.cpu().double() for v in (schedule.snr, schedule.beta[1], schedule.alpha_bar[-1]))

    def guess(t):
        t = t.to(x0.device)
        x_t = diffusion.q_sample(x0, t, torch.randn_like(x0), schedule)
        return diffusion.convert(x_t, t, schedule, v=velocity(x_t, t)).x0.clamp(-1, 1)

    last = 0.5 * (a * 784 - 784 * a - 784 * torch.log1p(-a))  # x_0^2 is 1 in every pixel
    # times are drawn with chances like 1 / t, as most of the sum comes from small ones
    chance = 1 / torch.arange(2, T + 1).double()
    chance /= chance.sum()
    middle = torch.zeros(len(x0), dtype=torch.float64)
    for _ in range(each):
        i = torch.multinomial(chance, len(x0), replacement=True)
        t = i + 2
        error = (x0 - guess(t)).square().flatten(1).sum(1).cpu().double()
        middle += 0.5 * (snr[t - 1] - snr[t]) * error / chance[i] / each
    first = guess(torch.ones(len(x0), dtype=torch.int64))
    side = torch.special.log_ndtr((x0 * first).cpu().double() / beta.sqrt())
    return (last + middle - side.flatten(1).sum(1)).float()


def flow(name, device):
    """Flow matching of 07, drawn with Euler's method."""
    net, ema, optimizer = _unet(device)
    steps = budget(smoke=2, laptop=20, gpu=50)

    def step(bits):
        x1 = 2 * bits - 1
        t = torch.rand(len(x1), device=device)
        x_t, velocity = diffusion.flow_path(torch.randn_like(x1), x1, t)
        loss = (velocity - net(x_t, 1000 * t)).square().mean()
        update(optimizer, loss)
        ema.update_parameters(net)
        return {"loss": loss}

    def sample(count):
        return _drawn(count, device, lambda x: diffusion.euler(lambda x, t: ema(x, 1000 * t), x, steps))

    why = "none: an integral over all noise that is carried and cut to the image, which nobody can compute"
    return Recipe(
        {"net": net, "ema": ema, "optimizer": optimizer}, step, 32, {f"flow matching, {steps} steps": sample}, (net,),
        protocol=why, rates={optimizer: 2e-3}, latent="784 numbers, by the ODE",
    )  # fmt: skip
