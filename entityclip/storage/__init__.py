"""Files that appear whole or not at all."""

from entityclip.storage.atomic import atomic_path, atomic_write, durable_rename, target_name, temporary_name

__all__ = ["atomic_path", "atomic_write", "durable_rename", "target_name", "temporary_name"]
