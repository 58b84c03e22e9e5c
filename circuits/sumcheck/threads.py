"""Kernels over ranges of an index space, on this process's own threads (section 12).

numba's own `parallel=True` compiles slowly and its thread layer must not be entered twice at once, which two requests would do.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any

from .field import K, P

WORTHWHILE = 4096  # items below which handing work to a thread costs more than it saves


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    del process  # a forked child must not wait for threads that only its parent has
    return ThreadPoolExecutor(workers(), thread_name_prefix="sumcheck")


@cache
def workers() -> int:
    """How many threads a proof uses: `VERINFER_SUMCHECK_THREADS`, or two where there are two cores."""
    wanted = os.environ.get("VERINFER_SUMCHECK_THREADS", "")
    return max(1, int(wanted)) if wanted.isdigit() else min(2, len(os.sched_getaffinity(0)))


def reset() -> None:
    """Read the setting again at the next call; threads that have work finish it."""
    _pool.cache_clear()
    workers.cache_clear()


def spread(
    function: Callable[..., Any],
    end: int,
    *arguments: Any,
    first: int = 0,
    worthwhile: int = WORTHWHILE,
    align: int = 1,
) -> list[Any]:
    """Call `function(low, high, *arguments)` over parts of `[first, end)`, each a multiple of `align` long; their results."""
    threads, count = workers(), end - first
    if count < worthwhile or threads == 1:
        return [function(first, end, *arguments)]
    step = -(-count // (threads * align)) * align
    parts = [(low, min(end, low + step)) for low in range(first, end, step)]
    rest = [_pool(os.getpid()).submit(function, low, high, *arguments) for low, high in parts[1:]]
    try:
        head = function(*parts[0], *arguments)
    except BaseException:  # Ctrl-C: nobody may write into memory that is about to be used again
        wait(rest)
        raise
    return [head, *(part.result() for part in rest)]


def summed(parts: list[Any]) -> tuple[K, ...]:
    """The sums of the parts' elements of K, each part a tuple of words, two for an element."""
    words = parts[0] if len(parts) == 1 else [sum(column) % P for column in zip(*parts, strict=True)]
    return tuple(zip(words[::2], words[1::2], strict=True))
