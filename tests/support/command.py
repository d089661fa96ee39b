"""The command `fanfold` as processes of their own: what a person types, from its beginning on."""

import sys

FANFOLD = (sys.executable, "-m", "fanfold")
