"""Turn scores of labelled photos into error rates, operating points and a report.

`comparisons` compares the photos, `rates` turns scores into error rates and operating points, and
says what rejecting poor photos changes, and `probability` turns a similarity into a probability.
`measure` does all this for one calibration.

More is measured apart: `strangers` the false matches within groups of people, `conditions` photos
under poor conditions such as blur, and `fusion` several photos of one person. `report` collects
the results, and `page` renders them as HTML; the templates beside it hold text and style.

`face_map` draws how faces cluster, and `conventions` finds which pixels a face network expects.
"""
