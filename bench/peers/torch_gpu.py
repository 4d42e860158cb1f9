"""PyTorch's side of bench/gpu.mjs: reads one JSON case a line, runs it `calls` times after a few for nothing, answers with the mean in milliseconds.
cuDNN's benchmark mode; --cpu tries the program without a GPU."""
import json, sys, time
import torch
from torch_networks import Training

CPU = "--cpu" in sys.argv
if not CPU and not torch.cuda.is_available():
    sys.exit("PyTorch sees no GPU")
torch.backends.cudnn.benchmark = True
state = {}


def synchronize():
    if not CPU:
        torch.cuda.synchronize()


for line in sys.stdin:
    c = json.loads(line)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = c["tf32"]
    key = json.dumps(c)
    if key not in state:
        # The modes of one case take turns; another case's memory is given back.
        if c["model"] != state.get("model"):
            state.clear()
            state["model"] = c["model"]
        state[key] = Training(c["model"], c["batch"], c["side"], "cpu" if CPU else "cuda", c["mode"], c["depth"], c["features"])
        for _ in range(5):
            state[key].step()
    synchronize()
    start = time.perf_counter()
    for _ in range(c["calls"]):
        state[key].step()
    synchronize()
    print(json.dumps({"ms": (time.perf_counter() - start) * 1e3 / c["calls"]}), flush=True)
