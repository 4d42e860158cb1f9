"""PyTorch's side of bench/gpu.mjs: reads one JSON case a line, runs it `calls` times after a few for nothing, answers with the mean in milliseconds.
Eager mode with cuDNN's benchmark; --cpu tries the program without a GPU."""
import json, sys, time
import torch

CPU = "--cpu" in sys.argv
if not CPU and not torch.cuda.is_available():
    sys.exit("PyTorch sees no GPU")
DEVICE = "cpu" if CPU else "cuda"
torch.backends.cudnn.benchmark = True
state = {}


class UNet(torch.nn.Module):
    def __init__(self, widths=(17, 34, 68)):
        super().__init__()
        a, b, c = widths
        conv = lambda i, o, s=1: torch.nn.Conv2d(i, o, 3, stride=s, padding=1)
        up = lambda i, o: torch.nn.ConvTranspose2d(i, o, 3, stride=2, padding=1, output_padding=1)
        self.e1, self.d1, self.e2, self.d2, self.m = conv(1, a), conv(a, b, 2), conv(b, b), conv(b, c, 2), conv(c, c)
        self.u2, self.f2, self.u1, self.f1, self.out = up(c, b), conv(2 * b, b), up(b, a), conv(2 * a, a), conv(a, 1)

    def forward(self, x):
        r = torch.relu
        a = r(self.e1(x))
        b = r(self.e2(r(self.d1(a))))
        m = r(self.m(r(self.d2(b))))
        b = r(self.f2(torch.cat([r(self.u2(m)), b], 1)))
        a = r(self.f1(torch.cat([r(self.u1(b)), a], 1)))
        return self.out(a) + x


class DnCNN(torch.nn.Module):
    def __init__(self, depth, features):
        super().__init__()
        layers = [torch.nn.Conv2d(1, features, 3, padding=1), torch.nn.ReLU()]
        for _ in range(depth - 2):
            layers += [torch.nn.Conv2d(features, features, 3, padding=1), torch.nn.ReLU()]
        self.net = torch.nn.Sequential(*layers, torch.nn.Conv2d(features, 1, 3, padding=1))

    def forward(self, x):
        return x - self.net(x)


def prepare(c):
    net = (UNet() if c["model"] == "unet" else DnCNN(c["depth"], c["features"])).to(DEVICE)
    shape = (c["batch"], 1, c["side"], c["side"])
    return net, torch.optim.Adam(net.parameters()), torch.randn(shape, device=DEVICE), torch.randn(shape, device=DEVICE)


def step(net, adam, x, target):
    adam.zero_grad(set_to_none=True)
    (net(x) - target).square().mean().backward()
    adam.step()


def synchronize():
    if not CPU:
        torch.cuda.synchronize()


for line in sys.stdin:
    c = json.loads(line)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = c["tf32"]
    key = json.dumps(c)
    if key not in state:
        state.clear()
        state[key] = prepare(c)
        for _ in range(5):
            step(*state[key])
    synchronize()
    start = time.perf_counter()
    for _ in range(c["calls"]):
        step(*state[key])
    synchronize()
    print(json.dumps({"ms": (time.perf_counter() - start) * 1e3 / c["calls"]}), flush=True)
