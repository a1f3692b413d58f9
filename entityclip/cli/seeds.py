"""The command ``seeds``: measures the deviation between trainings that differ only in their seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from entityclip.cli.options import Json
from entityclip.cli.output import last_line, on_terminal, table
from entityclip.cli.validate_paths import content_hash, explained
from entityclip.errors import ConfigError
from entityclip.paths import AblationLayout, Layout


def seeds(
    workspace: Annotated[Path, typer.Option(metavar="DIR", help="Workspace with a champion: its settings and data.")],
    count: Annotated[int, typer.Option("--seeds", min=3, help="Training runs.")] = 5,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Number of epochs; default: as the champion was trained.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the trainings; default: WORKSPACE/.entityclip/seeds."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train the champion's settings with several seeds and store the deviation of the deciding metric.

    It becomes promotion.seed_deviation in entityclip.yaml, so that a challenger that only had a lucky seed is not
    promoted. Finished trainings are not repeated.

    \b
    Example:
      entityclip seeds --workspace shop-search --seeds 5
    """
    from entityclip.data.pairs import evaluation_split
    from entityclip.experiments.seeds import seed_deviation, train_seeds
    from entityclip.model.checkpoint_card import read_card
    from entityclip.settings import read_config, write_setting
    from entityclip.training import TrainConfig

    layout = Layout(workspace)
    policy, data = read_config(layout.config).promotion, explained(layout.data.root)
    if not policy.metric.startswith("R@"):
        raise ConfigError(f"{layout.config}: promotion.metric is {policy.metric}; expected a recall such as R@1")
    config = TrainConfig.model_validate(read_card(layout.model).config).changed(epochs=epochs)
    answers: list[pd.DataFrame] = []
    rows: list[dict[str, float | None]] = []
    for trained in train_seeds(
        config,
        data=data,
        data_hash=content_hash(data),
        to=layout.seeds if to is None else AblationLayout(to),
        seeds=count,
        split=evaluation_split(data),
        progress=on_terminal(),
    ):
        answers.append(trained.queries)
        value = trained.measured.evaluation.value(policy.metric, index=policy.index)
        rows.append({"seed": len(rows), policy.metric: value})
        typer.echo(f"seed {len(rows) - 1}: {policy.metric} {value:.1f}")
    found = seed_deviation(answers, policy=policy)
    write_setting(layout.config, "promotion", "seed_deviation", round(found.bound, 2))
    table(rows)
    typer.echo(
        f"\nThe models deviate by {found.deviation:.2f} points; the sampling of pictures adds {found.sampling:.2f}.\n"
        f"promotion.seed_deviation is {found.bound:.2f} now, since {count} seeds say it only roughly."
    )
    last_line(found.model_dump(mode="json"), as_json)
