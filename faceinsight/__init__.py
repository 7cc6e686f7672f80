"""FaceInsight: face question answering where the camera is.

from faceinsight import FaceInsight
model = FaceInsight.load()
face = model.perceive("photo.jpg")
print(model.ask(face, "Is she wearing glasses?").text)
"""

from faceinsight.runtime.errors import BundleError, FaceInsightError, InputError, NoFaceError
from faceinsight.runtime.face import Answer, Face
from faceinsight.runtime.pipeline import FaceInsight
from faceinsight.version import __version__

__all__ = [
    "Answer",
    "BundleError",
    "Face",
    "FaceInsight",
    "FaceInsightError",
    "InputError",
    "NoFaceError",
    "__version__",
]
