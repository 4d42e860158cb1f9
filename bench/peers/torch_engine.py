"""PyTorch's side of bench/engine.ts: reads one JSON case a line, runs it `calls` times after once for nothing, answers with the mean in milliseconds
and the peak memory."""
import json, resource, sys, time
import torch
from torch_networks import Training

torch.set_num_threads(int(sys.argv[1]))
F = torch.nn.functional
state = {}


def conv_case(c):
    n, i, o, h, w, s, k = c["n"], c["cin"], c["cout"], c["h"], c["w"], c["stride"], c["kernel"]
    x, wt = torch.randn(n, i, h, w), torch.randn(o, i // c["groups"], k, k)
    if c["transposed"]:
        x = torch.randn(n, i, h, w)
        wt = torch.randn(i, o, 3, 3)
        y = F.conv_transpose2d(x, wt, stride=s, padding=1, output_padding=s - 1)
    else:
        y = F.conv2d(x, wt, stride=s, padding=k // 2, groups=c["groups"])
    return x, wt, torch.randn_like(y)


def conv_run(c, data):
    x, wt, g = data
    s, p, mask = c["stride"], c["kernel"] // 2, {"forward": None, "data": [True, False, False], "weights": [False, True, False]}[c["direction"]]
    if mask is None:
        return F.conv_transpose2d(x, wt, stride=s, padding=1, output_padding=s - 1) if c["transposed"] else F.conv2d(x, wt, stride=s, padding=p, groups=c["groups"])
    return torch.ops.aten.convolution_backward(g, x, wt, None, [s, s], [p, p], [1, 1], c["transposed"], [s - 1, s - 1] if c["transposed"] else [0, 0], c["groups"], mask)


def step_case(c):
    return Training(c["model"], 8, 64)


def step_run(c, training):
    training.step()


for line in sys.stdin:
    c = json.loads(line)
    prepare, run = (step_case, step_run) if c["kind"] == "step" else (conv_case, conv_run)
    if c["name"] not in state:
        state.clear()
        state[c["name"]] = prepare(c)
    run(c, state[c["name"]])
    start = time.perf_counter()
    for _ in range(c["calls"]):
        run(c, state[c["name"]])
    took = (time.perf_counter() - start) * 1e3 / c["calls"]
    print(json.dumps({"ms": took, "rssMB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)
