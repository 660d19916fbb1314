"""Face verification as pure numerics: no HTTP, no storage, no settings, no global state.

A photo becomes a decision in these steps; each names the module that does it:

1. `photo`: decode the bytes of a photo into an `Image`, find the face (`DetectedFace`), cut it
   out so that the eyes and the mouth always lie in the same place (`Crop`), and measure how good
   the photo is.
2. `embedder`: turn many crops into vectors of unit length at once. It runs the network of
   `encoder` (crop -> pixels -> features) and a small head (features -> vector).
3. `cohort`: measure how much a vector resembles faces in general, so that scores mean the same
   for every face.
4. `decision`: compare two `Template`s, a vector and what is known about it. This gives a
   similarity, and a `Rule` turns the similarity into match, no match or inconclusive.

A `bundle` is one release of all that: encoder, head, cohort, and the thresholds with the error
rates that were measured at them. Vectors of different bundles cannot be compared. The bundles
that come with the product are in `bundles/`; `weights` finds the network files that packages
carry. `errors` lists all that can go wrong.

Three more modules make and measure bundles, on folders of photos: `datasets` reads the photos,
`training` trains a head or an encoder, and `evaluation` measures error rates. They are run by the
commands `python -m models.train`, `models.evaluate` and `models.distill`.
"""
