"""Archives of our own, unpacked by every Python: 3.11.2 of Debian 12 knows no ``filter`` of ``extractall``."""

import tarfile


def unpack(archive, folder):
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)
