"""Found first on PYTHONPATH: a pod looks for garbage rarely, as what it imports stays."""

import gc

gc.set_threshold(100_000)
