"""Functions of the user's own: found, loaded, called, and identified.

How references are spelled stands in `lion_jax.config.reference`. Whatever goes wrong in
foreign code is reported in one line that names its file and line.
"""

from lion_jax.references.fingerprints import of_file
from lion_jax.references.importing import importable
from lion_jax.references.loading import blamed, fingerprint, load, place_of
from lion_jax.references.signatures import DEFAULT, arguments, parameters

__all__ = ["DEFAULT", "arguments", "blamed", "fingerprint", "importable", "load"]
__all__ += ["of_file", "parameters", "place_of"]
