"""One module per engine; `channels.registry` is the only place that names them."""
