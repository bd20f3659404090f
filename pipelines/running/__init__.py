"""How what is to do gets done: the order of work, workers, the lock on a run, and how it goes."""
