"""What is new in S3: which partitions have changed, and so need a run.

What starts the run belongs in pipelines/sensors; what the run then lists, in planning.

Read: changes (a scan: blocks held against the ledger), cursor (where scans begin and go on), sqs
(the queue that S3 notifies), notifications (what its messages name).
"""
