"""One file an asset: the type of its items, its fields, its functions and its declaration.

Any file put here is an asset, but those whose names begin with `_`, which tasks share. It imports
from workers.declare, and workers.web for pages. How blocks are read belongs in sources, how values
merge in contributions.

Read: user_profiles, the usual case; docs/your-own-asset.md builds another from nothing.
"""
