"""The crystalline mixture: a genome picks basis functions over contexts, EM weighs them."""
