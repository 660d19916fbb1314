"""Serve a model with a simple FastAPI handler, as most people write it first."""

import argparse
from io import BytesIO
from typing import Annotated

import torch
import uvicorn
from fastapi import FastAPI, File
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPVisionModel


def create_app(folder: str) -> FastAPI:
    """Load the model and add a route; FastAPI runs the handler in its thread pool."""
    app = FastAPI()
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    model = CLIPVisionModel.from_pretrained(folder).eval()

    @app.post("/embed")
    def embed(image: Annotated[bytes, File()]) -> dict[str, list[float]]:
        photo = Image.open(BytesIO(image)).convert("RGB")
        pixels = processor(photo, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            features = model(pixel_values=pixels).pooler_output
        return {"embedding": features[0].tolist()}

    return app


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    uvicorn.run(create_app(arguments.folder), port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
