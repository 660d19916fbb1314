"""The requests and answers: pydantic models that compute nothing."""
