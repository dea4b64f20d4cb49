"""What columns mean that pages make themselves; those of stored tables are told by `results.meanings`."""

from __future__ import annotations

from edp_assets.report.results import meanings

_BASELINES = {"whole_cohort": "in the whole cohort", "imaging_cohort": "among people with a scan"}
_METHODS = {
    "classifier": "classifier-guided scores",
    "clustering": "clustering-guided scores",
    "island": "island-guided scores",
}


def _hits(counted: str) -> dict[str, str]:
    """Return the meanings of a table of hits by disease and organ; counted: genes or loci."""
    return {
        "encoder": "encoder whose embeddings the phenotypes are made of; untrained is a control",
        "organ": "organ that was scanned",
        "icd10": "ICD-10 code, rolled up, or another set's label: set.label",
        "cases": "cases of the code with an embedding",
        "auc": "ROC-AUC of the classifier's pooled out-of-fold scores",
        "selected": "phenotypes selected for a GWAS, of all methods together",
        **{
            name: f"{counted} that the code itself hits {where}; empty: not stored"
            for name, where in _BASELINES.items()
        },
        **{name: f"{counted} that {scores} hit; empty: not stored" for name, scores in _METHODS.items()},
        **{
            f"{name}_and_whole": f"of the {counted} that {scores} hit, those that the code hits in the whole cohort"
            for name, scores in _METHODS.items()
        },
    }


GENES_BY_DISEASE, LOCI_BY_DISEASE = _hits("genes"), _hits("loci")
"""Of the overview's tables of hits."""

QUALITY = meanings("encoder_quality") | {
    "volume_r": "Pearson r of predicted against true organ volume, out of sample",
    "volume_error_percent": "mean absolute error of the predicted volume, per cent of the mean volume",
    "age_r": "Pearson r of predicted against true age, out of sample",
    "age_error_years": "mean absolute error of the predicted age, years",
}
"""Of what embeddings hold, a row a kind of features."""

CHECKS = {
    "check": "what was checked",
    "passed": "phenotypes or partitions that passed it",
    "warned": "those that did not, which is told and holds nothing",
    "failed": "those that did not, so that what stands downstream is held",
}
"""Of the counts of checks."""

LEFT_OUT = meanings("excluded") | {
    "left_out": "participants, scans or codes left out",
    "scans": "scans left out",
}
"""Of counts of whom or what stages left out."""

CODES = meanings("icd10_codes") | {
    "cases": "of the classifier: cases with an embedding",
    "best_AUC": "out of fold, of the trained encoders' classifiers the best",
    "untrained_AUC": "likewise, of the untrained control, whose scores are no discovery",
    "candidates": "scores of trained encoders that could be selected",
    "selected": "those of them that have a GWAS",
    "classifier_says": "why each encoder's classifier is selected or not",
    "clusters_say": "which clusters of each encoder are selected; where none is, why the one nearest to it is not",
    "genes": "hit by the scores of trained encoders, or by the code's own GWAS here; empty: not known",
}
"""Of an organ's table of codes."""

GENES = meanings("gene_hits") | {
    "whole_cohort": "whether the code itself hits the gene in the whole cohort; empty: not known",
    "imaging_cohort": "whether the code itself hits the gene in the imaging cohort; empty: not known",
    "hand_made": "whether the organ's volume, or another phenotype that needs no encoder, hits the gene; empty: not "
    "known",
    "lineage": "leads to the steps that the gene was found by",
}
"""Of a cell's genes."""

UNTESTED = {"reason": "why a trait has no test", "traits": "how many there are"}
"""Of the traits that a PheWAS has no test of."""

PATTERNS = {
    "file": "mask, or channel of an image",
    "pattern": "where such files lie; {eid} stands for the participant's id",
    "scans": "scans that have such a file there",
}
"""Of the patterns of files' names."""

SCANS = meanings("scans") | {
    "scan": "number of the scan, in the order of the hashes",
    "signature": "hash of the sizes and times of modification of its files",
}
"""Of the list of scans."""

SETTINGS = {
    "setting": "its name in the section of cohort.toml that heads the table",
    "value": "what this report was made with",
    "default": "what it is where nothing is set; empty where there is no default",
    "meaning": "what it does, and where its default is from",
}
"""Of the tables of settings."""

STAGES = {
    "asset": "name of what is stored",
    "holds": "what it is",
    "partitions": "what it is stored by, a part each; empty: it is stored whole",
    "code_version": "version of the code that makes it: another makes it anew",
    "made_from": "assets that it is made from",
    "settings": "sections of the settings that it depends on",
}
"""Of the stages."""

SHARED = {
    "asset": "name of what is stored",
    "rows": "how many it has",
    "made": "when it was stored",
    "file": "where it lies, relative to EDP_HOME",
    "content": "hash of what it holds",
    "inputs": "hash of what it was made from",
    "now_other": "what is another now than when it was made; empty: nothing",
}
"""Of the tables of the whole cohort."""

LIBRARIES = {"library": "name of the package", "version": "version that is installed"}
"""Of the versions."""
