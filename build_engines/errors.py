"""What building can end in, beside the runtime's errors."""

from __future__ import annotations

from faceinsight.runtime.errors import FaceInsightError


class CompileError(FaceInsightError):
    """A graph cannot be built for its target."""
