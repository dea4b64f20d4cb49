"""The static report: pages of the results, written to $EDP_HOME/report, readable without a network.

`build` decides what is written; the modules `overview`, `organ`, `cell`, `methods` and `evidence` say what a page
shows, `results` reads it, `lineage` follows it back; `html` and the templates say how it looks. Figures are in
`figures`.
"""
