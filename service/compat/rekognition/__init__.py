"""Amazon Rekognition's face operations in its JSON 1.1 protocol, as the AWS SDKs call them.

What it says is in Rekognition's API reference, what is different here in `deploy/migrate.md`. A
collection there is a collection of the store, a face a subject with one template. It translates
and decides nothing: faces are recognised where all routes have it done.
"""
