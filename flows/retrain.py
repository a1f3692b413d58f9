"""The retraining: ingest -> explain -> validate -> version -> train -> evaluate -> promote -> package -> smoke test.

Run it by hand with ``entityclip run --preset demo --workspace DIR``; for the schedule see ``prefect.yaml``.
Imports that load torch are inside functions, so that the temporary server starts while they load.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Cancelled
from pydantic import Field

from entityclip.errors import Busy
from entityclip.paths import Layout
from flows.workspace.source import Device, Origin, PresetName, SourceName, source_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from entityclip.training.presets import Preset
    from flows.workspace.source import WorkspaceSource


def _run_name() -> str:
    return f"retrain-{flow_run.parameters.get('preset') or Path(flow_run.parameters['workspace']).name}"


@flow(name="retrain", log_prints=True, flow_run_name=_run_name)
def retrain(  # noqa: PLR0913 (the parameters of a deployment are flat)
    preset: PresetName | None = None,
    workspace: Path = Path("build/workspace"),
    source: SourceName | None = None,
    source_path: Path | None = None,
    mapping: Path | None = None,
    products: int | None = None,
    epochs: Annotated[int, Field(ge=1)] | None = None,
    minutes: Annotated[float, Field(gt=0)] | None = None,
    device: Device = "cpu",
    processes: Annotated[int, Field(ge=1)] = 1,
    config: Path | None = None,
    replace_source: bool = False,
) -> Any:
    """Go from a source to a served model. Steps whose inputs have not changed are reused.

    The workspace remembers preset, source, path, mapping and products of its first run and uses them where you leave
    them out.

    Args:
        preset: Source, splits and training settings to start from.
        workspace: Git and DVC repository that holds data, rules and models; created if it does not exist.
        source: Source to use instead of the preset's.
        source_path: Folder or table of the source.
        mapping: YAML file that maps the columns of a table.
        products: Number of products to draw, for the built-in catalogue.
        epochs: Number of epochs instead of the preset's.
        minutes: Budget of the training instead of the preset's: epochs are the most that fit into it.
        device: Device to train on; evaluation and service use the CPU, so that their scores are comparable.
        processes: Processes that train together: on a GPU each, or sharing the CPU's cores.
        config: JSON or YAML file with training settings in place of the preset's, as ``entityclip tune`` writes it.
        replace_source: Replace the workspace's data by those of another source; without it, such a run is refused.

    Returns:
        Retrained; a cancelled state if another run holds the workspace and ``runs.when_busy`` is ``drop``.
    """
    from flows.platform.orphaned_runs import register_run
    from flows.workspace.create import open_workspace, require_usable

    require_usable(layout := Layout(workspace.resolve()))
    named = Origin(preset=preset, source=source, path=source_path, mapping=mapping, products=products)

    def chosen() -> tuple[WorkspaceSource, Preset]:
        origin = source_for(layout, named, replace=replace_source)
        return origin, settings_of(origin.preset, layout, epochs=epochs, minutes=minutes, device=device, config=config)

    chosen()  # fail before a workspace is created
    register_run(layout)
    return _stages(open_workspace(workspace), chosen, processes=processes)


def _stages(layout: Layout, chosen: Callable[[], tuple[WorkspaceSource, Preset]], *, processes: int) -> Any:
    """All stages under the workspace's lock."""
    from entityclip.retrieval.index.kept_vectors import drop_unused
    from flows.feedback import ingest_what_returned
    from flows.platform.telemetry import observed
    from flows.steps.cost_meter import metered
    from flows.steps.data import prepare_data
    from flows.steps.model import train
    from flows.steps.release import release
    from flows.steps.run_report import show
    from flows.workspace.locks import workspace_lock
    from flows.workspace.triggers import due, resolve

    began = time.time()
    try:
        with workspace_lock(layout), observed(layout, "retrain") as run, metered(layout, run) as meter:
            origin, settings = chosen()  # again, under the lock: another first run may have ended in between
            if settings.train.backbone:
                print(settings.train.backbone)
            ingest_what_returned(layout)
            causes = due(layout)
            prepared = prepare_data(layout, settings, origin)
            run.data_hash = prepared.version.data_hash
            trained = train(layout, settings.train, prepared.version.data_hash, processes=processes)
            released = release(layout, trained, prepared.version.data_hash, prepared.quality, floors=settings.floors)
            resolve(layout, causes)
            meter.count(trained, released, gpus=processes if settings.train.device == "cuda" else 0)
            done = show(layout, prepared, trained, released, meter.read())
            drop_unused(layout.picture_vectors, since=began)
            run.figures |= {("stage_seconds", stage.name): stage.seconds for stage in done.stages}
            return done
    except Busy as busy:
        return Cancelled(message=str(busy))  # dropped by policy, which is not a failure


def settings_of(
    preset: str,
    layout: Layout,
    *,
    epochs: int | None,
    device: Device,
    config: Path | None,
    minutes: float | None = None,
) -> Preset:
    """The preset with the given overrides, and the backbone that the workspace's settings name; arguments as for
    ``retrain``.
    """
    from entityclip.settings import read_config as read_workspace
    from entityclip.training import read_config
    from entityclip.training.presets import preset as named_preset

    backbones = read_workspace(layout.config).backbones if layout.config.is_file() else None
    settings = named_preset(preset, backbones=backbones, device=device)
    train = settings.train if config is None else read_config(config)
    return settings.model_copy(update={"train": train.changed(epochs=epochs, minutes=minutes, device=device)})
