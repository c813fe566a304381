"""Small archives of the shape of MNIST's, and a web server on this machine that hands them out, whole or damaged."""

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

NAMES = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
]


def idx(array):
    """The idx format: two zeros, 8 for bytes, the rank, big-endian sizes, the bytes."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def small_archives():
    """name -> bytes: 20 training and 10 test images with labels."""
    rng = np.random.default_rng(0)
    arrays = [
        array
        for n in (20, 10)
        for array in (rng.integers(0, 256, (n, 28, 28)).astype(np.uint8), (np.arange(n) % 10).astype(np.uint8))
    ]
    return {name: gzip.compress(idx(array), mtime=0) for name, array in zip(NAMES, arrays)}


def checksums(archives):
    """(name, md5) as in torchvision's list of resources."""
    return [(name, hashlib.md5(content).hexdigest()) for name, content in archives.items()]


class ArchiveServer:
    """Serves ``files``; counts the requests in ``asked``; ``announce`` adds to the length that is promised."""

    def __init__(self, files, announce=0):
        self.files, self.asked = dict(files), []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rsplit("/", 1)[-1]
                owner.asked.append(name)
                if name not in owner.files:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(owner.files[name]) + announce))
                self.end_headers()
                self.wfile.write(owner.files[name])

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()
