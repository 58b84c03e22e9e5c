"""From an ONNX file to a circuit package, and from an input to a proof."""
