"""The zoo: small models, trained reproducibly and exported to ONNX. The only folder that knows torch."""
