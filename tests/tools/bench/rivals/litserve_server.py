"""Serve a model with LitServe as in its documentation: decode, batch, call the model."""

import argparse
import base64
from collections.abc import Sequence
from io import BytesIO

import litserve
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPVisionModel


class Embed(litserve.LitAPI):  # type: ignore[misc]
    """Embed photos with a CLIP vision tower."""

    def __init__(self, folder: str) -> None:
        super().__init__(max_batch_size=32, batch_timeout=0.005)
        self._folder = folder

    def setup(self, device: str) -> None:
        self._processor = CLIPImageProcessorPil.from_pretrained(self._folder)
        self._model = CLIPVisionModel.from_pretrained(self._folder).eval()

    def decode_request(self, request: dict[str, str]) -> Tensor:
        image = Image.open(BytesIO(base64.b64decode(request["image"]))).convert("RGB")
        pixels: Tensor = self._processor(image, return_tensors="pt")["pixel_values"][0]
        return pixels

    def batch(self, inputs: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(inputs))

    @torch.inference_mode()
    def predict(self, pixels: Tensor) -> Tensor:
        features: Tensor = self._model(pixel_values=pixels).pooler_output
        return features

    def unbatch(self, output: Tensor) -> list[Tensor]:
        return list(output)

    def encode_response(self, output: Tensor) -> dict[str, list[float]]:
        return {"embedding": output.tolist()}


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    server = litserve.LitServer(Embed(arguments.folder), accelerator="cpu", api_path="/embed")
    server.run(host="127.0.0.1", port=arguments.port, generate_client_file=False)


if __name__ == "__main__":
    main()
