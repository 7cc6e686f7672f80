"""Errors that a user can cause. Each message says what was given, what was expected and what to do next."""


class FaceInsightError(Exception):
    """The base of every error that this project raises on purpose."""

    exit_code = 1
    """Exit status of the command line when it ends with this error."""


class InputError(FaceInsightError):
    """An image, question, box or option cannot be used."""

    exit_code = 2


class NoFaceError(InputError):
    """No face was found in the image."""


class BundleError(FaceInsightError):
    """The bundle is missing, damaged, of another format version, or made for another engine or device."""


def reason(error: Exception) -> str:
    """Returns the first line of an error's message, or the name of its class if it has none."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
