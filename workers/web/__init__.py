"""How web pages are visited: which addresses, how politely, and what an answer says.

Nothing here knows profiles, MongoDB or S3; what becomes of a visit belongs in the task.

Read: addresses, titles, robots, politeness, answers, visits (all of it, for many pages at once).
"""
