"""HTTP, concurrency and storage around the pipeline in `models`."""
