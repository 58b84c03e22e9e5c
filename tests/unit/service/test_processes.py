from __future__ import annotations

import json
import subprocess
import sys


def test_the_http_process_holds_no_native_code() -> None:
    """Neither the server nor its supervisor imports ezkl, onnx, onnxruntime or torch: native faults stay in children."""
    program = (
        "import json, sys, verinfer.service.server, verinfer.service.supervisor, verinfer.service.doctor;"
        "print(json.dumps(sorted({'ezkl', 'onnx', 'onnxruntime', 'torch', 'numpy'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []
