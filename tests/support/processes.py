"""Children that cannot outlive their test: killed with their parent by the kernel, and in their own reach ended on exit."""

import ctypes
import pathlib
import os
import signal
import socket
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MILLRACE_BUILD", ROOT / "build" / "release"))

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wake_with_parent():
    """For a child that ends by itself when its parent is gone: it must not be stopped then."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def start(words, netns=None, **options):
    """A child process, in a network namespace if one is named."""
    if netns:
        words = ["ip", "netns", "exec", netns, *map(str, words)]
    return subprocess.Popen([str(word) for word in words], preexec_fn=_die_with_parent, **options)


def end(child, within_s=10):
    """SIGTERM, and SIGKILL if that does not help. Returns the exit status."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(within_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream:
            stream.close()
    return child.returncode


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
