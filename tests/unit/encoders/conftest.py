"""Makes `described_sources` importable whatever pytest's import mode; property tests know no deadline."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
settings.register_profile("calm", deadline=None, max_examples=60)
settings.load_profile("calm")
