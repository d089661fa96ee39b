"""Other orchestrators over our own worker and fold functions: there the orchestration differs.

Each plans and publishes in its own process, as steps does, and maps batches and shards over as
many processes as there are cores. What outlives a job in their practice (Celery's workers and
broker, Dask's cluster, Prefect's server) is up and warm before the clock starts.

Read: work (what all of them call), celery_app, celery_chord, dask_map, prefect_map.
"""
