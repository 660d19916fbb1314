"""From bytes to vectors, for many requests at once.

`pipeline` leads a photo through two stages. `decode` turns its bytes into a crop, in a pool of
threads. `batcher` collects crops (`job`) of many requests in a queue that is fair to all callers
(`fair_queue`), and `encoder_thread` and `forward` turn each batch into vectors; `forward` also
learns how many crops fit in memory. `loading` opens all of it.
"""
