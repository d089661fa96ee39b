"""What keeps an item that kills, hangs or bloats its worker from costing others anything.

What tells such items from good ones belongs here; what becomes of them, in batch and ledger.

Read: trial (a call in a process of its own), isolated (a task whose calls are trials), watch (a
worker that ends itself where it stands still).
"""
