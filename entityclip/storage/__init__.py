"""Files that appear whole or not at all, and files that only their owner can read."""

from entityclip.storage.atomic import atomic_path, atomic_write, durable_rename, target_name, temporary_name
from entityclip.storage.private import PRIVATE_FILE, close_to_others, private_file, private_folder

__all__ = [
    "PRIVATE_FILE",
    "atomic_path",
    "atomic_write",
    "close_to_others",
    "durable_rename",
    "private_file",
    "private_folder",
    "target_name",
    "temporary_name",
]
