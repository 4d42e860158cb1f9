"""scikit-image's side of bench/flow.ts: a flow as a chain of denoise_tv_chambolle, one JSON case a line, answered with milliseconds and a file."""
import json, sys, time
import numpy as np
from skimage.restoration import denoise_tv_chambolle

folder = sys.argv[1]
for line in sys.stdin:
    c = json.loads(line)
    f = np.fromfile(folder + "/f.f64").reshape(c["size"], c["size"]).astype(c["dtype"])
    u, states = f, []
    start = time.perf_counter()
    for _ in range(c["steps"]):
        u = denoise_tv_chambolle(u, c["dt"], c["eps"], c["iterations"])  # its weight is lambda
        states.append(u)
    ms = (time.perf_counter() - start) * 1e3
    np.stack(states).astype(np.float64).tofile(folder + "/u.f64")
    print(json.dumps({"ms": ms}), flush=True)
