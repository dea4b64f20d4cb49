"""A page an organ: its scans as encoders see them, people's embeddings, what codes were selected on, and all codes."""

from __future__ import annotations

from typing import Any

import polars as pl
from markupsafe import Markup

from edp_assets.assets.encoders import UNTRAINED
from edp_assets.report import captions
from edp_assets.report import meanings as mean
from edp_assets.report.html import plot, table
from edp_assets.report.names import href, organ_page, scans_page
from edp_assets.report.site import Page
from edp_assets.report.sources import Sources
from edp_assets.report.unknown import cells_without_hits
from edp_assets.storage.cells import cell_of
from edp_assets.storage.withdrawal import scan_pictures


def organ(sources: Sources, name: str) -> Page:
    """Return the page of an organ."""
    path = organ_page(name)
    return Page(path, _content(sources, name), lambda: _render(sources, name, path))


def _content(sources: Sources, name: str) -> list[Any]:
    results = sources.results
    selection = results.organ_content("phenotype_selection", name)
    hits = results.organ_content("gene_hits", name)
    paper = results.organ_content("phenotype_figures", name)
    embedded = {encoder: _versions(sources, (encoder, "clusters"), name) for encoder in sources.settings.encoders}
    settings = [sources.settings.classifier.fingerprint(), sources.settings.clustering.fingerprint()]
    pages = [sources.head, [cell for cell in sources.shown if cell[0] == name]]
    known = [_people(sources, name), _codes_without_hits(sources, name)]
    return [selection, hits, paper, embedded, settings, results.codes.rows(), pages, _pictures(sources, name), known]


def _versions(sources: Sources, asset: tuple[str, ...], organ: str) -> str | None:
    stored = sources.lineage.stored(asset).get((("organ", organ),))
    return None if stored is None else stored.version


def _pictures(sources: Sources, name: str) -> list[str]:
    """Return the pictures of scans, relative to the report's folder."""
    home = sources.workspace.home
    return [str(path.relative_to(home.report)) for path in sorted(scan_pictures(home, name).glob("*.png"))]


def _render(sources: Sources, name: str, path: str) -> str:
    selection = _named(sources, name)
    encoders = [_encoder(sources, name, encoder, selection) for encoder in sources.settings.encoders]
    return sources.page(
        "organ.html.j2",
        path,
        name,
        organ=name,
        scans=scans_page(name),
        people=_people(sources, name),
        pictures=[(href(path, each), _said(each)) for each in _pictures(sources, name)],
        encoders=[each for each in encoders if each is not None],
        codes=_codes(sources, name, path, selection),
        paper=captions.paper(sources.files(sources.results.of("phenotype_figures", name, None), path)),
    )


def _said(picture: str) -> str:
    return picture.rsplit("/", 1)[-1].removesuffix(".png").replace("-", " ").replace("_", " ")


def _people(sources: Sources, name: str) -> int | None:
    """Return how many people have a usable scan; None where that has not been found out yet."""
    if cell_of({"organ": name}) not in sources.lineage.stored(("organ_volumes",)):
        return None
    return sources.results.table("organ_volumes").filter(organ=name).height


def _codes_without_hits(sources: Sources, name: str) -> list[str]:
    return cells_without_hits(sources).filter(organ=name)["icd10"].sort().to_list()


def _named(sources: Sources, name: str) -> pl.DataFrame:
    """Return the organ's candidates of studied codes, with the codes' descriptions and chapters."""
    selection = sources.results.table("phenotype_selection")
    if not selection.height:
        return pl.DataFrame()
    names = sources.results.codes.select("icd10", "description", "chapter", "label_set")
    names = names.with_columns(chapter=pl.coalesce("chapter", "label_set"), description=pl.col("description"))
    return selection.filter(organ=name).join(names, on="icd10", how="inner").sort("icd10")


def _encoder(sources: Sources, name: str, encoder: str, selection: pl.DataFrame) -> dict[str, Any] | None:
    """Return an encoder's figures: people's embeddings, and what codes were selected on; None where it has none."""
    from edp_assets.figures import interactive as draw

    classifier, clustering = sources.settings.classifier, sources.settings.clustering
    figures: list[Markup] = []
    clusters = sources.results.table("clusters")
    own = clusters.filter(encoder=encoder, organ=name) if clusters.height else clusters
    candidates = selection.filter(encoder=encoder) if selection.height else selection
    of_clusters = candidates.filter(method="clustering") if candidates.height else candidates
    colours = draw.cluster_colours(own["cluster"], of_clusters)
    if own.height:
        alt = f"UMAP of the adjusted embeddings of {own.height:,} people, coloured and numbered by cluster ({encoder})."
        left = own.height > draw.MAX_PEOPLE
        note = _which_colours(own["cluster"].n_unique() > len(colours))
        note += f" An even share of people is drawn, {draw.MAX_PEOPLE:,} at most." if left else ""
        figures.append(plot(draw.umap(own, colours), f"umap-{encoder}", alt, note))
    if candidates.height:
        of_classifier = candidates.filter(method="classifier")
        drawn = draw.auc_pval(of_classifier, min_auc=classifier.min_auc, max_p=classifier.max_p)
        alt = "Classifier-guided scores: how well each code is told from the embeddings; selected ones are filled and named, the lines are the thresholds."  # noqa: E501
        figures.append(plot(drawn, f"auc-pval-{encoder}", alt, _counts(of_classifier)))
        drawn = draw.percentage_pval(of_clusters, colours, max_p=clustering.max_p)
        alt = "Codes in clusters: the share of a cluster's people who have the code, and Fisher's p; selected ones are filled and named, the line is the threshold."  # noqa: E501
        figures.append(plot(drawn, f"percentage-pval-{encoder}", alt, _counts(of_clusters)))
    return {"name": encoder, "figures": figures} if figures else None


def _which_colours(some_are_grey: bool) -> str:
    """Return what is said of the clusters' colours."""
    same = "A cluster has one colour here and below"
    return f"{same}; grey are those without a selected code whose p are larger." if some_are_grey else f"{same}."


def _counts(candidates: pl.DataFrame) -> str:
    return f"{int(candidates['selected'].sum()):,} of {candidates.height:,} selected."


def _codes(sources: Sources, name: str, path: str, selection: pl.DataFrame) -> Markup:
    """Return all codes: with a link where they have a page, with the reason where none of their scores is selected."""
    caption = (
        "All studied codes; those with a selected phenotype have a page. AUCs are out of fold; the untrained control "
        "is counted in its own column alone"
    )
    if not selection.height:
        return table(selection, caption, meanings={}, empty="No code has been studied here yet.")
    codes = _counted(selection)
    genes = sources.results.table("gene_hits")
    if genes.height:
        hit = (
            genes.filter((pl.col("encoder") != UNTRAINED) | pl.col("encoder").is_null(), organ=name)
            .drop_nulls(["gene", "icd10"])
            .group_by("icd10")
            .agg(genes=pl.col("gene").n_unique())
        )
        unknown = pl.col("icd10").is_in(_codes_without_hits(sources, name))
        codes = codes.join(hit, on="icd10", how="left")
        codes = codes.with_columns(pl.when(unknown).then(pl.col("genes")).otherwise(pl.col("genes").fill_null(0)))
    codes = codes.sort("selected", "icd10", descending=[True, False])
    says = ["classifier_says", "clusters_say"]
    codes = codes.select(pl.exclude(says), *says)
    pages = [sources.cell_link(name, code) for code in codes["icd10"]]
    links = {"icd10": [href(path, page) if page else None for page in pages]}
    return table(codes, caption, meanings=mean.CODES, links=links)


def _counted(selection: pl.DataFrame) -> pl.DataFrame:
    """Return a row a code: what its candidates came to. Of the untrained control there is the AUC, and no more."""
    of_classifier, trained = pl.col("method") == "classifier", pl.col("encoder") != UNTRAINED
    auc = pl.col("roc_auc_out_of_fold")
    codes = selection.group_by("icd10", "description", maintain_order=True).agg(
        cases=pl.col("cases").filter(of_classifier).max(),
        best_AUC=auc.filter(trained).max(),
        untrained_AUC=auc.filter(~trained).max(),
        candidates=trained.sum(),
        selected=(pl.col("selected") & trained).sum(),
    )
    if not codes["untrained_AUC"].count():
        codes = codes.drop("untrained_AUC")
    trained_ones = selection.filter(trained)
    for column, said in (("classifier_says", _classifier_says), ("clusters_say", _clusters_say)):
        codes = codes.join(said(trained_ones), on="icd10", how="left", maintain_order="left").rename({"says": column})
    return codes


def _classifier_says(candidates: pl.DataFrame) -> pl.DataFrame:
    """Return icd10, says: each encoder's verdict on its classifier."""
    of_classifier = candidates.filter(method="classifier")
    return _by_encoder(of_classifier.with_columns(verdict=pl.col("reason")))


def _clusters_say(candidates: pl.DataFrame) -> pl.DataFrame:
    """Return icd10, says: which clusters of each encoder are selected; where none is, why the nearest is not.

    That is the enriched one of the smallest p: a cluster without cases, however small its p, was never near.
    """
    nearest = candidates.filter(method="clustering").sort(
        pl.col("odds_ratio").fill_null(0) > 1, "p_fisher", "cluster", descending=[True, False, False], nulls_last=True
    )
    clusters = nearest.group_by("icd10", "encoder", maintain_order=True).agg(
        pl.col("cluster").filter("selected").sort().cast(pl.String).str.join(", ").alias("chosen"),
        pl.first("reason", "cluster"),
        of=pl.len(),
    )
    none = pl.format("none of {} (nearest is {}: {})", "of", "cluster", "reason")
    said = pl.when(pl.col("chosen") == "").then(none).otherwise(pl.format("{} selected", "chosen"))
    return _by_encoder(clusters.with_columns(verdict=said))


def _by_encoder(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Return icd10, says: its encoders' verdicts, each behind the encoder's name."""
    said = pl.format("{}: {}", "encoder", "verdict")
    return verdicts.sort("encoder").group_by("icd10", maintain_order=True).agg(says=said.str.join("; "))
