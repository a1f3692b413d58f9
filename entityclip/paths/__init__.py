"""The only place where a workspace's paths are joined.

A workspace is a Git and DVC repository. What a release consists of is tracked; everything under
``.entityclip/`` is work in progress, ignored by Git, and can be deleted at any time.
"""

from entityclip.paths.annotations import AnnotationLayout
from entityclip.paths.artifacts import (
    ChangesLayout,
    CheckpointLayout,
    DataLayout,
    DecodedLayout,
    ExportedLayout,
    IndexLayout,
    RunLayout,
    attributes_beside,
    claims_beside,
)
from entityclip.paths.experiments import (
    AblationLayout,
    DesignsLayout,
    GateLayout,
    LearningCurveLayout,
    StudyLayout,
    ValueReportLayout,
)
from entityclip.paths.packages import DeviceLayout, PackageLayout, StoreLayout
from entityclip.paths.service import FeedbackLayout, ReviewLayout, StateLayout, WatchLayout, device_lock
from entityclip.paths.workspace import Layout

__all__ = [
    "AblationLayout",
    "AnnotationLayout",
    "ChangesLayout",
    "CheckpointLayout",
    "DataLayout",
    "DecodedLayout",
    "DesignsLayout",
    "DeviceLayout",
    "ExportedLayout",
    "FeedbackLayout",
    "GateLayout",
    "IndexLayout",
    "Layout",
    "LearningCurveLayout",
    "PackageLayout",
    "ReviewLayout",
    "RunLayout",
    "StateLayout",
    "StoreLayout",
    "StudyLayout",
    "ValueReportLayout",
    "WatchLayout",
    "attributes_beside",
    "claims_beside",
    "device_lock",
]
