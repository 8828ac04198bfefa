"""What readers raise on a file that is not what it should be."""

import csv
import pickle
import struct
import tokenize
import zipfile
import zlib

from safetensors import SafetensorError

# Of Python's own, NumPy's, torch's and torchvision's readers, on bytes that anybody may have
# written. The toolkit's own InputError and RunError are among them.
BROKEN = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError),
    *(OSError, RuntimeError, StopIteration, TypeError, ValueError),
    *(SafetensorError, csv.Error, pickle.UnpicklingError, struct.error, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error),
)
