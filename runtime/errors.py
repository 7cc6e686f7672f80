"""Errors a user can cause. Each message says what was given, what was expected and what to do next."""


class FaceInsightError(Exception):
    """Base of every error this project raises on purpose; `exit_code` is the command line's status."""

    exit_code = 1


class InputError(FaceInsightError):
    """The image, question, box or option given cannot be used."""

    exit_code = 2


class NoFaceError(InputError):
    """No face was found in the image."""


class BundleError(FaceInsightError):
    """The bundle is missing, damaged, of another format version, or made for another engine or device."""


def reason(error: Exception) -> str:
    """The first line of what a library says, for a message of one line."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
