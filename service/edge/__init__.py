"""Everything before a route: turn the bytes of a connection into a checked request.

`server` accepts connections and runs the app, and `connection` limits each connection. `boundary`
is the outermost layer of the app: it logs and counts each request and answers unexpected errors.
`cors` lets in allowed web pages. `targets` checks the path and the query, and `paths` finds the
route of a path. `guard` checks the key (`keys`, with what each request needs from `access`) and
the host. `admission` limits how many requests run and how large their bodies are, `body` reads a
body into a model (`multipart` parses it), and `disconnect` stops the work for clients that are
gone. `problems` turns errors into answers.
"""
