"""One module for each engine; only the registry names them."""
