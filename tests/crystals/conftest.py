"""Settings for the tests of crystals."""

from __future__ import annotations

from hypothesis import settings

# A deadline is a timing assertion: it fails on a busy machine, and says nothing about the code.
settings.register_profile('no deadline', deadline=None)
settings.load_profile('no deadline')
