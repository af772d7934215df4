"""Where a picture or a film comes from: an imperceptible mark, a signed manifest, a label, and how to verify them."""

from vivface.provenance.keys import SigningKey, signing_key
from vivface.provenance.label import add_label
from vivface.provenance.manifest import Ingredient, sign_file
from vivface.provenance.mark import add_mark
from vivface.provenance.stamp import Provenance, Stamp, number_of
from vivface.provenance.verify import Verification, verify

__all__ = [
    "Ingredient",
    "Provenance",
    "SigningKey",
    "Stamp",
    "Verification",
    "add_label",
    "add_mark",
    "number_of",
    "sign_file",
    "signing_key",
    "verify",
]
