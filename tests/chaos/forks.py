"""Commands in real processes that start at once: forked from one that has imported all there is to import.

child = Child(folder, "train", "pix2pix", ..., fault=slow)
child.until(lambda: ...).kill(signal.SIGTERM)
assert child.ended() == 143
"""

import faulthandler
import multiprocessing
import os
import signal
import socket
import sys
import time

import diptych.testing.processes  # noqa: F401  whose list of modules, set when it is imported, is replaced below

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "diptych.cli",
        "diptych.testing.processes",
        "diptych.workflows.train",
        "matplotlib.backends.backend_agg",
        "torch._dynamo",
        "torch.utils.tensorboard",
        "opened_letters",
    ]
)


class Child:
    """`diptych WORDS`, in a process group of its own; what it says goes into files in `folder`.

    `fault` is called in it before the command; `env` is added to its environment.
    """

    def __init__(self, folder, *words, fault=None, env=None):
        self.said, self.erred = folder / "out.txt", folder / "err.txt"
        folder.mkdir(exist_ok=True)
        arguments = (str(self.said), str(self.erred), list(map(str, words)), fault, env or {})
        self.process = SERVER.Process(target=_go, args=arguments)
        self.process.start()
        self.pid = self.process.pid

    def until(self, ready, seconds=60):
        """Wait for that; an assertion if the process ends before."""
        end = time.monotonic() + seconds
        while not ready():
            assert self.process.exitcode is None, self.error
            assert time.monotonic() < end, f"nothing comes: {self.error}\n{self.output}"
            time.sleep(0.005)
        return self

    def kill(self, number):
        """As a terminal's Ctrl-C does: workers hear it too."""
        os.killpg(self.pid, number)

    def ended(self, seconds=60):
        """Its exit code, once it has ended."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            os.kill(self.pid, signal.SIGABRT)  # which has it say where it is
            self.process.join(5)
            raise AssertionError(f"does not end: {self.error}\n{self.output}")
        return self.process.exitcode

    @property
    def output(self):
        return self.said.read_text() if self.said.exists() else ""

    @property
    def error(self):
        return self.erred.read_text() if self.erred.exists() else ""


def ranks(start, *words, number=2, **options):
    """The same command in so many processes that train together, as `torchrun` starts them, but without its agent.

    `start` is what starts one: the fixture `child`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [start(*words, env={**shared, "RANK": rank, "LOCAL_RANK": rank}, **options) for rank in range(number)]


def _go(said, erred, words, fault, env):
    from diptych.cli import main

    multiprocessing.set_start_method(None, force=True)  # for its workers: what is usual, not what it was started by
    os.setsid()
    for number, path in ((1, said), (2, erred)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    faulthandler.enable()
    os.environ.update({name: str(value) for name, value in env.items()})
    sys.argv = ["diptych", *words]
    if fault:
        fault()
    main()
