"""Turn scores of labelled photos into error rates, operating points and a report.

`comparisons` compares the photos, `rates` turns scores into error rates and operating points, and
`probability` turns a similarity into a probability. `measure` does all this for one calibration.

More is measured apart: `strangers` the false matches within groups of people, `captures` and
`conditions` photos under poor conditions such as blur, `fusion` several photos of one person, and
`reject` what rejecting poor photos changes. `report` collects the results, and `page` renders them
as HTML; the pages' text and style are in the templates beside it.

`face_map` draws how faces cluster, and `conventions` finds which pixels a face network expects.
"""
