"""The exceptions of the package: an error that a user can fix is a VislocError, whose message says how."""

_LONGEST = 800  # characters of a message; names in it may be of any length
_BEGIN = 500


class VislocError(Exception):
    """Base of every error a user can act on; the message says what is wrong and what to do.

    The message is one line of bounded length, however long the names in it are.
    """

    def __str__(self) -> str:
        words = " ".join(super().__str__().split())
        line = "".join(character if character.isprintable() else "?" for character in words)
        return line if len(line) <= _LONGEST else f"{line[:_BEGIN]} ... {line[_BEGIN - _LONGEST :]}"


class ConfigError(VislocError):
    """A configuration value is unknown, of the wrong type, or out of range."""


class CalibrationError(VislocError):
    """Camera intrinsics are missing, zero, or do not fit the image."""


class SourceError(VislocError):
    """A video, image folder or bag is missing, empty, or cannot be decoded."""


class MapError(VislocError):
    """A map cannot be built, is broken, or does not fit the loaded models."""


class ManifestError(MapError):
    """A map's manifest is missing or garbled, or it is for other models or another version."""


class GeoError(VislocError):
    """A database of geotagged views is missing or broken, or a request to a provider of views failed."""


class ModelError(VislocError):
    """A learned model or its weights are missing, or do not match their checksum."""


class OutputError(VislocError):
    """A result cannot be written, or would overwrite something that must be kept."""


class OutputExistsError(OutputError):
    """The place for a result is taken by something that must be kept."""


class DeadlineError(VislocError):
    """Something took longer than its time limit."""


class SetupError(VislocError):
    """A program, package or process that the command needs is missing or failed to start."""
