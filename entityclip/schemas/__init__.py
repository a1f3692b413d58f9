"""The frozen records that pass between stages. Rows by the thousand travel as Parquet (see ``pairs``)."""

from entityclip.schemas.annotation import Annotation, Region
from entityclip.schemas.answers import EntityEntry, Evidence, Filter, Hit, Match, ModelFacts, Tag
from entityclip.schemas.base import (
    SLICES,
    Candidates,
    ExportedRuntime,
    IndexKind,
    Line,
    OpenSplit,
    Paragraph,
    Record,
    Runtime,
    Split,
)
from entityclip.schemas.compression import RuntimeChange, RuntimeDecision
from entityclip.schemas.costs import CostReading, ReleaseCost, Resources, release_costs
from entityclip.schemas.data import (
    ClaimCount,
    DataVersion,
    ExplanationRecord,
    ExplanationRequest,
    IngestReport,
    NearDuplicates,
    QualityReport,
    ReaderAgreement,
    Rejection,
    RuleResult,
)
from entityclip.schemas.evaluation import EvalReport, Metric, Probe
from entityclip.schemas.improvements import ExplanationToRewrite, Improvements, OneMorePicture, ProductToPhotograph
from entityclip.schemas.labels import Label, LabelCounts, Reading
from entityclip.schemas.mixture import Mixture, MixtureGroup
from entityclip.schemas.open_set import OpenSetRule, OpenSetTarget
from entityclip.schemas.promotion import Gain, PromotionDecision, PromotionPolicy, SetLooks
from entityclip.schemas.release import Approval, BentoRecord, PackageCard, Release, ServingCheck
from entityclip.schemas.sealed import SealedLook, SealedPolicy

__all__ = [
    "SLICES",
    "Annotation",
    "Approval",
    "BentoRecord",
    "Candidates",
    "ClaimCount",
    "CostReading",
    "DataVersion",
    "EntityEntry",
    "EvalReport",
    "Evidence",
    "ExplanationRecord",
    "ExplanationRequest",
    "ExplanationToRewrite",
    "ExportedRuntime",
    "Filter",
    "Gain",
    "Hit",
    "Improvements",
    "IndexKind",
    "IngestReport",
    "Label",
    "LabelCounts",
    "Line",
    "Match",
    "Metric",
    "Mixture",
    "MixtureGroup",
    "ModelFacts",
    "NearDuplicates",
    "OneMorePicture",
    "OpenSetRule",
    "OpenSetTarget",
    "OpenSplit",
    "PackageCard",
    "Paragraph",
    "Probe",
    "ProductToPhotograph",
    "PromotionDecision",
    "PromotionPolicy",
    "QualityReport",
    "ReaderAgreement",
    "Reading",
    "Record",
    "Region",
    "Rejection",
    "Release",
    "ReleaseCost",
    "Resources",
    "RuleResult",
    "Runtime",
    "RuntimeChange",
    "RuntimeDecision",
    "SealedLook",
    "SealedPolicy",
    "ServingCheck",
    "SetLooks",
    "Split",
    "Tag",
    "release_costs",
]
