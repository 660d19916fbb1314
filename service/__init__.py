"""HTTP, concurrency and storage around the numerics in `models`.

A request passes through these folders in turn:

1. `edge`: check the request before its route: connection, key, limits and body.
2. `api`: the routes, one file for each resource, and the pages at `/ui`. `compat` has the routes
   of CompreFace and Amazon Rekognition.
3. `recognition`: do what the route stands for, such as verify or enrol.
4. `pipeline`: turn the bytes of photos into vectors, for many requests at once.
5. `store`: keep the templates, in SQLite or PostgreSQL, and encrypt them.

`schemas` defines the requests and answers, `errors` the errors, and `settings` the settings.
`observe` has metrics, logs and traces. `app` puts all this together.

Three more folders are for users: `cli` has the commands of `likeness`, which `__main__` starts;
`client` has the Python clients; `bulk` embeds large folders of photos.
"""

__version__ = "0.1.0"
