"""The errors of building a bundle that the runtime does not have."""

from __future__ import annotations

from faceinsight.runtime.errors import FaceInsightError


class CompileError(FaceInsightError):
    """A stage cannot be built for its target in this precision."""
