"""Visiting web pages: which, where, how politely, and what an answer says.

Nothing here knows profiles, MongoDB or S3; what becomes of a visit is for the task to say.

Read: addresses, titles, robots, politeness, answers, visits.
"""
