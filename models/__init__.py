"""The face pipeline as pure numerics: bytes -> Image -> Face -> crop -> ... -> Decision."""
