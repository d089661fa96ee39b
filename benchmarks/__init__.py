"""Measurements that print; nothing is asserted about time. Rules are shown by `tests`.

Read: events (the data), main_job (the whole job beside a plain script).
"""
