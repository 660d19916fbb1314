"""The parts of training: train a head, an encoder, a quality head or a cohort.

`options` has the knobs of a run. `plan` describes a run and its result, and divides the people
into train, validation and test. `augment` varies the crops. `loop` trains a learner with a `loss`:
`head` (a head on a frozen encoder) or `lora` (an encoder that is adapted to faces). `card` writes
the model card.

`student` defines a small encoder that learns to imitate a large one. `quality` trains a quality
head, and `cohort` builds the faces that scores are measured against.
"""
