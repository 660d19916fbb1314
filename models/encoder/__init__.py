"""Crops to pooled features: the encoders, what runs them, and the head behind them."""

from typing import Literal

EngineName = Literal["torch", "openvino", "onnxruntime"]
"""Name the library that runs an encoder."""

EngineChoice = Literal["auto", "torch", "openvino", "onnxruntime"]
"""Name an engine, or let `auto` choose the fastest one for the encoder."""
