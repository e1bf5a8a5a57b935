"""A Ctrl-C that arrives.

Python raises KeyboardInterrupt wherever the program is. Modules that are being imported may catch it as if one of their
imports had failed, and in callbacks, JAX's of the garbage collector say, it is printed and dropped: the run goes on.
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

AGAIN = 0.1  # seconds


def heed_interrupts() -> None:
    """Put off an interrupt until imports and callbacks are over. Where interrupts are ignored they stay so."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    before = sys.unraisablehook

    def dropped(what: Any) -> None:
        if what.exc_type is KeyboardInterrupt:
            _later()
        else:
            before(what)

    signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = dropped


def _interrupt(number: int, frame: FrameType | None) -> None:
    inner = frame
    while inner is not None:
        if inner.f_code.co_filename.startswith("<frozen importlib"):
            _later()
            return
        inner = inner.f_back
    signal.default_int_handler(number, frame)


def leave(code: int = 0) -> None:
    """End a command that is done: Python would first wait for what JAX still computes, which nobody wants any more."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


_put_off = threading.Event()


def _later() -> None:
    if _put_off.is_set():
        return  # one is enough, however often the key is pressed
    _put_off.set()
    timer = threading.Timer(AGAIN, _again)
    timer.daemon = True
    timer.start()


def _again() -> None:
    main = threading.main_thread().ident
    assert main is not None
    _put_off.clear()  # first: it may have to be put off once more
    signal.pthread_kill(main, signal.SIGINT)
