"""What a route does between the request and the answer.

`verify`, `identify`, `enroll`, `embed` and `face_map` each do the work of one route. They share
the parts that `service` opens: a `recogniser` turns photos into templates by one bundle, and a
`matcher` compares templates. `thresholds` says which threshold applies, `vetting` which photos
may become templates, `liveness` whether a living person was there. `render` and `model_card` make
the answers.

Two bundles can be loaded: `change` moves the gallery from one to the other, and `shadow` compares
their decisions. `sweep` erases expired templates.
"""
