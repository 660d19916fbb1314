"""Amazon Rekognition's face operations in its JSON 1.1 protocol, as the AWS SDKs call them.

Rekognition's API reference describes them; `deploy/migrate.md` lists the differences. A
Rekognition collection is a collection of the store, and a face in it is a subject with one
template. This package only translates: faces are recognised as for all other routes.
"""
