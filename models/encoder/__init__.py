"""From crops to vectors: encoders, the engines that run them, and the head.

`pixels` turns a crop into the numbers that a network expects. An encoder (`clip`, `dlib`, `onnx`)
is a network that turns these pixels into features; `encoder` says what all encoders and engines
have in common. `engine` chooses and opens the library that runs the encoder. `head` turns features
into vectors.
"""

from typing import Literal

EngineName = Literal["torch", "openvino", "onnxruntime"]
"""Name the library that runs an encoder."""

EngineChoice = Literal["auto", "torch", "openvino", "onnxruntime"]
"""Name an engine, or let `auto` choose the fastest one for the encoder."""
