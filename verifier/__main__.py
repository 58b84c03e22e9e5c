"""The command ``verinfer``, also as ``python -m verinfer.verifier``."""

import signal

# Until its modules are imported, nothing could answer Ctrl-C but a traceback.
_interrupt = signal.getsignal(signal.SIGINT)
if _interrupt is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from .cli import main  # noqa: E402 - after the signal

signal.signal(signal.SIGINT, _interrupt)

if __name__ == "__main__":
    main()
