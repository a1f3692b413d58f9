"""The command ``learning-curve``: what more pictures are worth, by training on parts of them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from entityclip.cli.options import Json
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import content_hash, explained
from entityclip.data import pairs
from entityclip.errors import ConfigError
from entityclip.paths import Layout
from entityclip.storage import atomic_write

FEWEST = 10
"""Training pictures of the smallest part."""


def learning_curve(
    workspace: Annotated[Path, typer.Option(metavar="DIR", help="Workspace with a champion: its settings and data.")],
    shares: Annotated[
        str, typer.Option(help="Parts of the training pictures, ascending; the last is usually all of them.")
    ] = "0.25,0.5,1",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Number of epochs; default: as the champion was trained.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the parts and train nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Train the champion's settings on parts of the training pictures, and show what more pictures are worth.

    Each part is evaluated on the same test pictures. The results are kept in .entityclip/learning-curve of the
    workspace, with a plot, and the next value report quotes them. Finished trainings are not repeated.

    \b
    Example:
      entityclip learning-curve --workspace shop-search
    """
    from entityclip.experiments.learning_curve import MORE, plot, train_parts
    from entityclip.experiments.learning_curve import learning_curve as curve_of
    from entityclip.model.checkpoint_card import read_card
    from entityclip.settings import read_config
    from entityclip.training import TrainConfig

    layout = Layout(workspace)
    policy, data = read_config(layout.config).promotion, explained(layout.data.root)
    if not policy.metric.startswith("R@"):
        raise ConfigError(f"{layout.config}: promotion.metric is {policy.metric}; expected a recall such as R@1")
    total = len(pairs.read_frame(data.pairs, name="train", columns=["pair_id"]))
    parts = _parts(shares, total)
    pictures = [round(share * total) for share in parts]
    if dry_run:
        table([{"share": share, "training pictures": count} for share, count in zip(parts, pictures, strict=True)])
        last_line({"shares": parts, "pictures": pictures}, as_json)
        return
    card = read_card(layout.model)
    hashed, to = content_hash(data), layout.learning_curve
    trained = train_parts(
        TrainConfig.model_validate(card.config).changed(epochs=epochs),
        data=data,
        data_hash=hashed,
        to=to,
        shares=parts,
        split=pairs.evaluation_split(data),
        progress=on_terminal(),
    )
    curve = curve_of(
        trained,
        shares=parts,
        pictures=pictures,
        policy=policy,
        model=card.fingerprint,
        data_hash=hashed,
        epochs=epochs,
    )
    atomic_write(to.plot, plot(curve))
    curve.write(to.curve)
    rows = [point.model_dump(include={"pictures", "value", "low", "high", "seconds"}) for point in curve.points]
    table(rows, decimals=1)
    gain, more = curve.gain, curve.per_hundred
    typer.echo(
        f"\nFrom {pictures[-2]:,} to {pictures[-1]:,} pictures, {curve.metric} changes by {gain.value:+.1f} points "
        f"[{gain.low:+.1f}, {gain.high:+.1f}].\nIf each doubling adds as much, {MORE} more pictures add "
        f"{more.value:+.2f} points [{more.low:+.2f}, {more.high:+.2f}].\nPlot: {to.plot}"
    )
    last_line(curve.model_dump(mode="json") | {"plot": str(to.plot)}, as_json)


def _parts(text: str, total: int) -> list[float]:
    """The shares of ``--shares``.

    Raises:
        ConfigError: They are not two or more ascending numbers from 0 to 1, or the first has too few pictures.
    """
    try:
        parts = [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--shares {text}: expected numbers like 0.25,0.5,1") from None
    if len(parts) < 2 or not all(0 < part <= 1 for part in parts) or any(b <= a for a, b in pairwise(parts)):
        raise ConfigError(f"--shares {text}: expected two or more ascending numbers above 0, at most 1")
    if round(parts[0] * total) < FEWEST:
        raise ConfigError(
            f"--shares {text}: the first part has {round(parts[0] * total)} of {total} training pictures; expected at "
            f"least {FEWEST}"
        )
    return parts
