"""scikit-image's and NumPy's side of bench/inverse.ts: reads one JSON case a line, runs it once, answers with the milliseconds."""
import json, sys, time
import numpy as np

state = {}


def prepare(c):
    rng = np.random.default_rng(0)
    if c["kind"] == "radon":
        from skimage.transform import iradon, radon

        n, views = c["size"], c["views"]
        theta = np.arange(views) * 180 / views
        image = rng.random((n, n)).astype(np.float32)
        if c["direction"] == "forward":
            return lambda: radon(image, theta=theta, circle=False)
        sinogram = rng.random((int(np.ceil(np.hypot(n, n))), views)).astype(np.float32)
        # Back-projection alone: no filter, linear interpolation.
        return lambda: iradon(sinogram, theta=theta, filter_name=None, interpolation="linear", circle=False, output_size=n)
    n = c["size"]
    x = (rng.random((c["batch"], n, n)) + 1j * rng.random((c["batch"], n, n))).astype(np.complex64)
    if c["peer"] == "scipy":
        import scipy.fft

        return lambda: scipy.fft.fft2(x, norm="ortho", workers=int(sys.argv[1]))  # single precision, threads
    return lambda: np.fft.fft2(x, norm="ortho")  # double precision, one thread


for line in sys.stdin:
    c = json.loads(line)
    if c["name"] not in state:
        state.clear()
        state[c["name"]] = prepare(c)
        if c["kind"] == "fft":
            state[c["name"]]()
    start = time.perf_counter()
    state[c["name"]]()
    print(json.dumps({"ms": (time.perf_counter() - start) * 1e3}), flush=True)
