"""Which backbones are on this machine: in folders, installed packages or the Hugging Face cache. Nothing is fetched."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from entityclip.errors import ConfigError
from entityclip.model.pretrained.backbone_table import BACKBONES
from entityclip.model.pretrained.record import Backbone


def at_hand(backbone: Backbone, *, folders: Iterable[Path] = ()) -> Path | None:
    """The file or folder of a backbone's weights: in one of ``folders``, an installed package, or the hub's cache."""
    own = next((folder / backbone.name for folder in folders if (folder / backbone.name).is_dir()), None)
    return own or _in_package(backbone) or _in_cache(backbone)


def weights_path(given: str) -> Path:
    """The file or folder that ``given`` means: a backbone's name, or itself.

    Raises:
        ConfigError: It is neither here, nor the name of a backbone that is.
    """
    backbone = BACKBONES.get(given)
    found = Path(given) if backbone is None else at_hand(backbone)
    if found is not None and found.exists():
        return found
    if backbone is not None:
        raise ConfigError(
            f"backbone {given}: its weights are not on this machine; get them: entityclip backbones recipe {given}"
        )
    raise ConfigError(f"weights {given!r}: neither a file or folder here nor a name of: entityclip backbones list")


def _in_package(backbone: Backbone) -> Path | None:
    """The file of weights in an installed package, which is not imported."""
    module = importlib.util.find_spec(backbone.package.replace("-", "_")) if backbone.package else None
    places = (module.submodule_search_locations or ()) if module is not None else ()
    return next((path for place in places if (path := Path(place) / backbone.file).is_file()), None)


def _in_cache(backbone: Backbone) -> Path | None:
    """The downloaded file in the cache of the Hugging Face hub; its folder where other files there are needed too."""
    if not backbone.repository:
        return None
    from huggingface_hub import try_to_load_from_cache

    names = {backbone.file, backbone.file.replace("open_clip_model", "open_clip_pytorch_model")}
    cached = (try_to_load_from_cache(backbone.repository, name) for name in sorted(names))
    found = next((Path(path) for path in cached if isinstance(path, str)), None)
    return found.parent if found is not None and not backbone.package and backbone.kind != "image" else found
