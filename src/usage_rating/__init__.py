"""Turns usage exports and cart-state snapshots into invoices, in nightly batches."""
