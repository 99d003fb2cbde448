"""A service that does less than the product, written as a good engineer would: what a cached answer costs elsewhere."""
