"""Eight clients pull a file from the gateway at once: memory of the gateway, and what chats beside it take.

    python benchmarks/pulling_at_once.py [MEGABYTES]      default: 200

The gateway runs in a process of its own before an Ollama that repeats what it is asked; each client is an
HTTP client that takes the blob in 16 parts and compares its SHA-256.
"""

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fakes.scripted_ollama import ScriptedOllama  # noqa: E402

from stock_llm.ollama.manifest import Layer, Manifest  # noqa: E402
from stock_llm.ollama.store import OllamaStore  # noqa: E402

CLIENTS, PARTS, CHATS = 8, 16, 40


def publish(store: OllamaStore, megabytes: int) -> str:
    """A version whose weights are random bytes; their digest."""
    config = store.put_blob(b"{}")
    weights = store.put_blob(os.urandom(megabytes * 2**20))
    manifest = Manifest(
        Layer("config", config.digest, config.size), (Layer("model", weights.digest, weights.size),)
    )
    store._write_manifest(store._manifest_path("stock-llm:latest"), manifest.encode())
    return weights.digest


def pull(url: str, digest: str) -> bool:
    """Whether the blob came bit for bit."""
    path = f"{url}/v2/library/stock-llm/blobs/{digest}"
    with httpx.Client(trust_env=False, timeout=600) as http:
        size = int(http.head(path).headers["content-length"])
        step, summed = -(-size // PARTS), hashlib.sha256()
        for start in range(0, size, step):
            span = {"Range": f"bytes={start}-{min(start + step, size) - 1}"}
            with http.stream("GET", path, headers=span) as part:
                for piece in part.iter_bytes():
                    summed.update(piece)
    return f"sha256:{summed.hexdigest()}" == digest


def chats(url: str, count: int) -> list[float]:
    """Seconds of each chat."""
    seconds = []
    with httpx.Client(trust_env=False, timeout=600) as http:
        for _ in range(count):
            body = {
                "model": "auto",
                "stream": False,
                "messages": [{"role": "user", "content": "What is RSI14?"}],
            }
            began = time.perf_counter()
            http.post(f"{url}/api/chat", json=body).raise_for_status()
            seconds.append(time.perf_counter() - began)
    return seconds


def main() -> None:
    """Prints the figures."""
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as made, ScriptedOllama() as ollama:
        home = Path(made)
        digest = publish(OllamaStore(home / "models" / "ollama"), megabytes)
        variables = os.environ | {
            "STOCK_LLM_HOME": made,
            "STOCK_LLM_SECRETS": str(home / "secrets"),
            "STOCK_LLM_PUBLISH__SERVE": "true",
            "STOCK_LLM_GATEWAY__CACHE_MEGABYTES": "0",
            "OLLAMA_HOST": ollama.host,
            "PYTHONPATH": str(ROOT),
        }
        run = "from stock_llm.cli.main import main; main()"
        command = [sys.executable, "-c", run, "serve", "--port", "0"]
        with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
            try:
                url = process.stdout.readline().split()[3].rstrip(",")
                gateway = psutil.Process(process.pid)
                chats(url, 5)
                alone = statistics.median(chats(url, CHATS))
                before, peak, done = gateway.memory_info().rss, 0, threading.Event()

                def watch() -> None:
                    nonlocal peak
                    while not done.wait(0.02):
                        peak = max(peak, gateway.memory_info().rss)

                watcher = threading.Thread(target=watch)
                watcher.start()
                began = time.perf_counter()
                with ThreadPoolExecutor(CLIENTS + 1) as pool:
                    pulls = [pool.submit(pull, url, digest) for _ in range(CLIENTS)]
                    beside = pool.submit(chats, url, CHATS)
                    same = [future.result() for future in pulls]
                    during = statistics.median(beside.result())
                seconds = time.perf_counter() - began
                done.set()
                watcher.join()
            finally:
                process.terminate()
    print(f"{CLIENTS} clients x {megabytes} MiB: {seconds:.1f} s, bit for bit: {all(same)}")
    print(f"memory of the gateway: {before / 2**20:.0f} MiB before, {peak / 2**20:.0f} MiB at most")
    print(f"a chat at p50: {alone * 1000:.1f} ms alone, {during * 1000:.1f} ms beside")


if __name__ == "__main__":
    main()
