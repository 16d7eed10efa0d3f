"""ONNX: a recorded graph as a model that other runtimes load. https://onnx.ai/onnx/operators"""
