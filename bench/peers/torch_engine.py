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


# Each: the shapes of the inputs to differentiate in, and the layer. Labels are drawn where the name asks for them.
LAYERS = {
    "batchNorm": ([[8, 64, 64, 64], [64], [64]], lambda x, w, b: F.batch_norm(x, torch.zeros(64), torch.ones(64), w, b, True)),
    "batchNormRelu": ([[8, 64, 64, 64], [64], [64]], lambda x, w, b: torch.relu(F.batch_norm(x, torch.zeros(64), torch.ones(64), w, b, True))),
    "layerNorm": ([[4096, 512], [512], [512]], lambda x, w, b: F.layer_norm(x, [512], w, b)),
    "softmax": ([[4096, 512]], lambda x: F.softmax(x, -1)),
    "softmaxChannels": ([[8, 21, 64, 64]], lambda x: F.softmax(x, 1)),
    "logSoftmax": ([[4096, 512]], lambda x: F.log_softmax(x, -1)),
    "logSumExp": ([[4096, 512]], lambda x: torch.logsumexp(x, -1)),
    "crossEntropy": ([[256, 1000]], lambda x, labels: F.cross_entropy(x, labels)),
    "crossEntropyPixels": ([[8, 21, 64, 64]], lambda x, labels: F.cross_entropy(x, labels)),
    "maxPool": ([[8, 64, 64, 64]], lambda x: F.max_pool2d(x, 2)),
    "averagePool": ([[8, 64, 64, 64]], lambda x: F.avg_pool2d(x, 2)),
}


def layer_case(c):
    shapes, f = LAYERS[c["layer"]]
    inputs = [torch.randn(s, requires_grad=True) for s in shapes]
    x = shapes[0]
    fixed = [torch.randint(0, x[1], [x[0]] + x[2:])] if "crossEntropy" in c["layer"] else []
    return f, inputs, fixed, torch.randn_like(f(*inputs, *fixed))


def layer_run(c, data):
    f, inputs, fixed, g = data
    for x in inputs:
        x.grad = None
    f(*inputs, *fixed).backward(g)


def step_case(c):
    return Training(c["model"], 8, 64)


def step_run(c, training):
    training.step()


for line in sys.stdin:
    c = json.loads(line)
    prepare, run = {"step": (step_case, step_run), "layer": (layer_case, layer_run), "conv": (conv_case, conv_run)}[c["kind"]]
    if c["name"] not in state:
        state.clear()
        state[c["name"]] = prepare(c)
    run(c, state[c["name"]])
    start = time.perf_counter()
    for _ in range(c["calls"]):
        run(c, state[c["name"]])
    took = (time.perf_counter() - start) * 1e3 / c["calls"]
    print(json.dumps({"ms": took, "rssMB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)
