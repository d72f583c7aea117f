"""Libraries of other languages write to file descriptors, and have words of their own for a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*, show: bool = False) -> Iterator[None]:
    """Hides what is written to standard output and error; ``show`` sends both to standard error."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = {number: os.dup(number) for number in (1, 2)}
    try:
        with contextlib.ExitStack() as stack:
            sink = 2
            if not show:
                sink = os.open(os.devnull, os.O_WRONLY)
                stack.callback(os.close, sink)
            for number in saved:
                os.dup2(sink, number)
            yield
    finally:
        for number, copy in saved.items():
            os.dup2(copy, number)
            os.close(copy)


@contextlib.contextmanager
def writing(directory: pathlib.Path) -> Iterator[None]:
    """Makes the OSError of a full disk of what a library raises then, also of a panic of Rust."""
    try:
        yield
    except BaseException as error:  # a panic is no Exception
        if os.strerror(errno.ENOSPC) in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory)) from error
        raise
