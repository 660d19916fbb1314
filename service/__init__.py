"""HTTP, concurrency and storage around the pipeline in `models`."""

__version__ = "0.1.0"
