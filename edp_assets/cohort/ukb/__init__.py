"""UK Biobank as it comes, turned into a cohort folder: tables of fields, withdrawals, folders of images.

Reading exports and writing the folder belong here; what a cohort folder is, and reading one, is the rest of `cohort`.
"""
