"""Models that run on this machine, on all its cores.

numpy's linear algebra is small here. Threads of its own would wait for work by spinning, and slow inference down.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported: nothing else here imports it
