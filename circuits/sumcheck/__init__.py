"""Our own transparent proof system, verinfer-sc/1: from an ONNX file to a proof."""
