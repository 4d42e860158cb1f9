"""The peer of bench/tdv.ts: total deep variation in PyTorch, on the CPU.

One JSON request per line on standard input, one answer per line: {"op": "load", "weights": path}, then
{"op": "denoise" | "gradient" | "train", "n": 128, "steps": 10, "blur": "composite" | "factored"} -> {"ms": ..., "rssMB": ...}.
The gradient of the regulariser is written out (no autograd in denoising), as the authors' code does; training differentiates through it.
"composite" convolves with the blurred 7x7 kernels, "factored" blurs and then convolves with 3x3 ones.
"""

import json
import resource
import struct
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)


def load(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        tensors[name] = torch.from_numpy(np.frombuffer(data[begin:end], np.float32).reshape(entry["shape"]).copy())
    return tensors


B1 = torch.tensor([1.0, 4, 6, 4, 1]) / 16
B2 = torch.outer(B1, B1)


def pad(x, p):
    """The mirror image with its edge: p is 1 or 3."""
    if p == 1:
        return F.pad(x, (1, 1, 1, 1), mode="replicate")
    x = torch.cat([x[..., :p].flip(-1), x, x[..., -p:].flip(-1)], -1)
    return torch.cat([x[..., :p, :].flip(-2), x, x[..., -p:, :].flip(-2)], -2)


def fold(y, p):
    """The transpose of pad."""
    for axis in (-1, -2):
        y = fold_axis(y, p, axis)
    return y


def fold_axis(y, p, axis):
    n = y.shape[axis]
    core = y.narrow(axis, p, n - 2 * p).clone()
    core.narrow(axis, 0, p).add_(y.narrow(axis, 0, p).flip(axis))
    core.narrow(axis, n - 3 * p, p).add_(y.narrow(axis, n - p, p).flip(axis))
    return core


def conv(x, w):
    return F.conv2d(pad(x, 1), w)


def conv_t(y, w):
    return fold(F.conv_transpose2d(y, w), 1)


class Network:
    def __init__(self, weights, blur):
        self.p = {k: v.clone().requires_grad_() for k, v in weights.items()}
        self.blur = blur
        self.blocks = 1 + max(int(k.split(".")[2]) for k in weights if k.startswith("R.mb."))

    def down(self, x, k):
        m = x.shape[1]
        if self.blur == "composite":
            return F.conv2d(pad(x, 3), k, stride=2)
        return F.conv2d(F.conv2d(pad(x, 3), B2.expand(m, 1, 5, 5), groups=m), k, stride=2)

    def up(self, y, k, like):
        m, extra = y.shape[1], [(s + 1) % 2 for s in like.shape[2:]]
        if self.blur == "composite":
            return fold(F.conv_transpose2d(y, k, stride=2, output_padding=extra), 3)
        return fold(F.conv_transpose2d(F.conv_transpose2d(y, k, stride=2, output_padding=extra), B2.expand(m, 1, 5, 5), groups=m), 3)

    def kernels(self):
        """Scale kernels: blurred here once per call in the composite form."""
        p = self.p
        names = [k for k in p if "conv_down" in k or "conv_up" in k]
        if self.blur != "composite":
            return {k: p[k] for k in names}
        out = {}
        for k in names:
            o, c = p[k].shape[:2]
            out[k] = F.conv2d(p[k].reshape(o * c, 1, 3, 3), B2[None, None], padding=4).reshape(o, c, 7, 7)
        return out

    def gradient(self, x, scale):
        p = self.p
        k0 = conv(x, p["R.K1.weight"])
        state, trail = [k0, None, None], []
        for a in range(self.blocks):
            keep = {}

            def micro(v, s, i):
                h = conv(v, p[f"R.mb.{a}.mb.{s}.{i}.conv1.weight"])
                keep[s, i] = h
                return v + conv(0.5 * torch.log(1 + h * h), p[f"R.mb.{a}.mb.{s}.{i}.conv2.weight"])

            d = [scale[f"R.mb.{a}.conv_down.{i}.weight"] for i in range(2)]
            u = [scale[f"R.mb.{a}.conv_up.{i}.weight"] for i in range(2)]
            x0 = micro(state[0], 0, 0)
            x1 = self.down(x0, d[0])
            x1 = micro(x1 if state[1] is None else state[1] + x1, 1, 0)
            x2 = self.down(x1, d[1])
            x2 = micro(x2 if state[2] is None else state[2] + x2, 2, 0)
            x1 = micro(x1 + self.up(x2, u[1], x1), 1, 1)
            x0 = micro(x0 + self.up(x1, u[0], x0), 0, 1)
            state = [x0, x1, x2]
            trail.append(keep)
        w = p["R.KN.weight"]
        g0, g1, g2 = (w / w.shape[1]).expand(1, -1, 1, 1).expand_as(k0), None, None
        for a in reversed(range(self.blocks)):
            keep = trail[a]

            def back(g, s, i):
                h = keep[s, i]
                v = conv_t(g, p[f"R.mb.{a}.mb.{s}.{i}.conv2.weight"])
                return g + conv_t(h / (1 + h * h) * v, p[f"R.mb.{a}.mb.{s}.{i}.conv1.weight"])

            d = [scale[f"R.mb.{a}.conv_down.{i}.weight"] for i in range(2)]
            u = [scale[f"R.mb.{a}.conv_up.{i}.weight"] for i in range(2)]
            g0 = back(g0, 0, 1)
            t = self.down(g0, u[0])
            g1 = back(t if g1 is None else g1 + t, 1, 1)
            t = self.down(g1, u[1])
            g2 = back(t if g2 is None else g2 + t, 2, 0)
            g1 = back(g1 + self.up(g2, d[1], g1), 1, 0)
            g0 = back(g0 + self.up(g1, d[0], g0), 0, 0)
        return conv_t(g0, p["R.K1.weight"])

    def run(self, z, steps):
        scale = self.kernels()
        a, tau = self.p["T"] / steps, self.p["lmbda"] / steps
        x = z
        for _ in range(steps):
            x = (x - a * self.gradient(x, scale) + tau * z) / (1 + tau)
        return x


weights, networks = {}, {}
for line in sys.stdin:
    r = json.loads(line)
    if r["op"] == "load":
        weights, networks = load(r["weights"]), {}
        print("{}", flush=True)
        continue
    blur = r.get("blur", "composite")
    if blur not in networks:
        net = Network(weights, blur)
        networks[blur] = (net, torch.optim.Adam(net.p.values(), lr=0.0))
    net, adam = networks[blur]
    n = r["n"]
    y = torch.from_numpy(np.random.RandomState(0).rand(1, 1, n, n).astype(np.float32))
    z = torch.from_numpy(np.random.RandomState(1).rand(1, 1, n, n).astype(np.float32))
    start = time.perf_counter()
    if r["op"] == "train":
        adam.zero_grad()
        (0.5 * (net.run(z, r["steps"]) - y).square().sum()).backward()
        adam.step()
        value = 0.0
    else:
        with torch.no_grad():
            out = net.run(z, r["steps"]) if r["op"] == "denoise" else net.gradient(z, net.kernels())
        value = float(out.double().sum())
    ms = (time.perf_counter() - start) * 1000
    print(json.dumps({"ms": ms, "value": value, "rssMB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)
