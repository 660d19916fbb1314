"""Amazon's own client, as it is published: `boto3`."""

from typing import Any

import boto3
from botocore.config import Config


def rekognition_client(url: str, access_key_id: str = "any", secret: str = "any") -> Any:
    """Return a client that asks once, as a test wants to see the first answer."""
    return boto3.client(
        "rekognition",
        endpoint_url=url,
        region_name="local",
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )
