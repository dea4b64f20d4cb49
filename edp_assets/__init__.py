"""edp_assets: from organ MRI to gene hits, as Dagster assets."""
