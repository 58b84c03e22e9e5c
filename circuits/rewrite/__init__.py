"""Rewrites of an ONNX graph that keep its fp32 meaning and make its circuit cheaper; one small file per rule.

A rule takes a model with static shapes, inferred and plain (`_onnx.inspect` accepts it), and gives another with the same
inputs and outputs. Everything here runs inside a limited child.
The manifest lists the rules that were applied, in order, so that `verinfer reproduce` can replay them.
"""
