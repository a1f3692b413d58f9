"""Files that appear whole or not at all, files that only their owner can read, and CSV files for people."""

from entityclip.storage.atomic import atomic_path, atomic_write, durable_rename, target_name, temporary_name
from entityclip.storage.csv_files import csv_file, read_records, read_rows, read_table, write_table
from entityclip.storage.disk_full import disk_full_error
from entityclip.storage.private import PRIVATE_FILE, close_to_others, private_file, private_folder

__all__ = [
    "PRIVATE_FILE",
    "atomic_path",
    "atomic_write",
    "close_to_others",
    "csv_file",
    "disk_full_error",
    "durable_rename",
    "private_file",
    "private_folder",
    "read_records",
    "read_rows",
    "read_table",
    "target_name",
    "temporary_name",
    "write_table",
]
