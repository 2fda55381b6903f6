"""What reading a damaged file may raise."""

import struct
import tokenize
import zipfile
import zlib

# All that zipfile, gzip and numpy are known to raise of a damaged archive: RuntimeError for
# settings that zipfile cannot read, the others of an array's header, which is Python.
UNREADABLE = (
    *(OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error),
    *(LookupError, TypeError, AttributeError, SyntaxError, MemoryError, tokenize.TokenError),
)
